"""Batches in parts against the whole batch and against bare PyTorch, ghost batches against separate passes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.models import build_model, parse_model
from landscape.training.batch_schedule import batch_sizes, parse_stages, plan_steps
from landscape.training.batches import Batching, check_batches, ghost_norms, kept_samples, passes_of
from landscape.training.ghost_norm import GhostNorms, batch_norms, ghost_batch_norm
from landscape.training.loop import fit
from landscape.training.optimizers import build_optimizer
from landscape.training.samples import Split
from landscape.training.schedules import build_schedule, constant, fill_schedule
from landscape.training.state import TrainingState

CPU = torch.device("cpu")


def residual():
    """A residual network with batch normalisation, in train mode."""
    return build_model(parse_model("resnet8:width=0.25"), classes=3, channels=2, size=8, seed=1).double().train()


def plain():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3)).double()


def samples(number=22, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 2, 8, 8, generator=generator, dtype=torch.float64)
    return Split(inputs, torch.randint(3, (number,), generator=generator))


def gradient(model, how, chosen, epoch=1):
    """The loss, gradients and buffers that a batch leaves."""
    data = samples()
    with how.ghosts.installed():
        loss = passes_of(model, data.inputs[chosen], data.labels[chosen], how, epoch).gradient()
    return loss, [p.grad.clone() for p in model.parameters()], [b.clone() for b in model.buffers()]


def assert_same(one, two, rtol=1e-9):
    torch.testing.assert_close(one, two, rtol=rtol, atol=1e-12)


# -- ghost batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 3), (12, 3, 5), (12, 3, 4, 2), (11, 3, 4, 2), (3, 3, 2, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_each_ghost_batch_is_normalised_by_itself(shape, affine):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(3, generator=generator, dtype=torch.float64) if affine else None for _ in range(2))
    y, mean, variance = ghost_batch_norm(x, 4, weight, bias, 1e-5)
    expected, means, variances = [], 0, 0
    for ghost in torch.split(x, 4):
        axes = [0, *range(2, x.ndim)]
        m, v = ghost.mean(axes, keepdim=True), ghost.var(axes, unbiased=False, keepdim=True)
        shift = [1, 3] + [1] * (x.ndim - 2)
        z = (ghost - m) / (v + 1e-5).sqrt()
        expected.append(z * weight.view(shift) + bias.view(shift) if affine else z)
        means = means + len(ghost) * m.flatten()
        variances = variances + len(ghost) * ghost.var(axes, unbiased=True)
    assert_same(y, torch.cat(expected))
    assert_same(mean, means)
    assert_same(variance, variances)
    probe = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((out * probe).sum(), x)[0] for out in (y, torch.cat(expected)))
    assert_same(ours, theirs)


def test_a_step_in_ghost_batches_is_a_pass_a_ghost_batch():
    """The oracle: a bare network, whose batch normalisation sees one ghost batch at a time."""
    data, chosen = samples(), torch.arange(22)
    bare = residual()
    for norm in batch_norms(bare):
        norm.momentum = 1.0  # the running statistics are then those of the last pass
    statistics, sizes = [], []
    for ghost in torch.split(chosen, 4):
        loss = cross_entropy(bare(data.inputs[ghost]), data.labels[ghost], reduction="sum") / 22
        loss.backward()
        statistics.append([(n.running_mean.clone(), n.running_var.clone()) for n in batch_norms(bare)])
        sizes.append(len(ghost))
    model = residual()
    _, gradients, _ = gradient(model, Batching(ghosts=GhostNorms(model, 4)), chosen)
    assert_same(gradients, [p.grad for p in bare.parameters()])
    for place, norm in enumerate(batch_norms(model)):
        for which, running, start in ((0, norm.running_mean, 0.0), (1, norm.running_var, 1.0)):
            mean = sum(n * s[place][which] for n, s in zip(sizes, statistics, strict=True)) / 22
            assert_same(running, 0.9 * start + 0.1 * mean)
        assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("ghost", [2, 4, 8])
@pytest.mark.parametrize("discard", [0.0, 0.3])
def test_micro_batches_are_one_big_batch(ghost, discard):
    results = []
    for micro in (None, 8, 16, 22):
        model = residual()
        how = Batching(micro=micro, discard=discard, ghosts=GhostNorms(model, ghost))
        results.append(gradient(model, how, torch.arange(22)))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert_same(one, two)


@pytest.mark.parametrize("micro", [4, 8])
def test_a_run_in_micro_batches_is_a_run_in_big_batches(micro):
    """Three epochs of SGD with momentum, with ragged last batches, in float64."""

    def run(micro):
        model = residual()
        how = Batching(micro=micro, ghosts=GhostNorms(model, 4))
        optimizer = build_optimizer(TrainConfig(lr=0.02), model.parameters())
        state = TrainingState(model, optimizer, torch.Generator().manual_seed(2), CPU)
        with how.ghosts.installed():
            rows = list(
                fit(state, samples(), samples(9, 4), schedule=constant(0.02), batch_size=16, epochs=3, batching=how)
            )
        return model.state_dict(), [row["test_loss"] for row in rows]

    (whole, losses), (parts, others) = run(None), run(micro)
    assert losses == pytest.approx(others, rel=1e-9)
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], rtol=1e-8, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", ["kfac-f:statistics=2,inverses=2", "kfac-g:statistics=2,inverses=2", "sam", "cblr"])
def test_an_optimizer_of_many_passes_takes_micro_batches_as_one_batch(name):
    def run(micro):
        model = residual()
        how = Batching(micro=micro, discard=0.2, ghosts=GhostNorms(model, 4))
        optimizer = build_optimizer(TrainConfig(optimizer=name, lr=0.002), model.parameters())
        state = TrainingState(model, optimizer, torch.Generator().manual_seed(2), CPU)
        with how.ghosts.installed(), torch.random.fork_rng():
            torch.manual_seed(5)
            list(fit(state, samples(), samples(9, 4), schedule=constant(0.002), batch_size=16, epochs=3, batching=how))
        return model.state_dict()

    whole, parts = run(None), run(8)
    for key, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[key], rtol=1e-7, atol=1e-9, msg=lambda m, n=key: f"{n}: {m}")


def test_one_ghost_batch_is_batch_normalisation_itself():
    data, chosen = samples(), torch.arange(22)
    bare = residual()
    cross_entropy(bare(data.inputs), data.labels).backward()
    model = residual()
    _, gradients, buffers = gradient(model, Batching(ghosts=GhostNorms(model, 32)), chosen)
    assert_same(gradients, [p.grad for p in bare.parameters()])
    assert_same(buffers, list(bare.buffers()))


def test_statistics_average_over_steps_without_momentum_and_stay_untracked():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    average = nn.BatchNorm1d(3, momentum=None).double()
    untracked = nn.BatchNorm1d(3, track_running_stats=False).double()
    model = nn.Sequential(average, untracked)
    norms = GhostNorms(model, 4)
    with norms.installed():
        for scale in (1.0, 3.0):
            with norms.gathered():
                model(scale * x)
    assert_same(average.running_mean, 2.0 * x.mean(0))
    assert average.num_batches_tracked == 2
    assert untracked.running_mean is None


def test_ghosts_leave_no_trace_and_no_mark_on_evaluation():
    model = residual()
    names, x = list(model.state_dict()), samples().inputs
    expected = copy.deepcopy(model).eval()(x)
    norms = GhostNorms(model, 4)
    with norms.installed():
        assert torch.equal(model.eval()(x), expected)
        before = copy.deepcopy(model.state_dict())
        model.train()(x)  # not gathered: nothing moves
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert list(model.state_dict()) == names
    assert all("forward" not in vars(norm) for norm in batch_norms(model))


def test_hessian_products_add_up_over_the_parts():
    data, model = samples(), residual()
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(6)
    vectors = [[torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters] for _ in range(2)]
    norms = GhostNorms(model, 4)
    with norms.installed():
        whole, parts = (
            passes_of(model, data.inputs, data.labels, Batching(micro=micro, ghosts=norms), 1).hessian_products(
                parameters, vectors
            )
            for micro in (None, 8)
        )
    for one, two in zip(whole, parts, strict=True):
        assert_same(one, two, rtol=1e-8)


# -- discarding ----------------------------------------------------------------------------------------------------


def test_the_smallest_losses_are_left_out():
    data, model = samples(), plain().eval()
    chosen = torch.arange(20)
    losses = cross_entropy(model(data.inputs[:20]), data.labels[:20], reduction="none")
    expected = losses.sort().values[6:].mean()
    grads = torch.autograd.grad(expected, list(model.parameters()))
    for micro in (None, 7):
        how = Batching(micro=micro, discard=0.3)
        loss = passes_of(model, data.inputs[chosen], data.labels[chosen], how, epoch=1).gradient()
        assert_same(loss, expected.detach())
        assert_same([p.grad for p in model.parameters()], list(grads))


def test_discarding_ends_after_its_epochs():
    data, model, chosen = samples(), plain().eval(), torch.arange(20)
    how = Batching(discard=0.5, discard_epochs=2)
    whole = cross_entropy(model(data.inputs[:20]), data.labels[:20]).detach()
    losses = [passes_of(model, data.inputs[chosen], data.labels[chosen], how, epoch).gradient() for epoch in (1, 2, 3)]
    assert losses[0] == losses[1] > whole
    assert losses[2] == whole


def test_choosing_draws_no_random_numbers_of_its_own():
    """The dropout of the pass that chooses comes again in the pass that trains."""
    data, chosen = samples(), torch.arange(20)
    states = []
    for discard in (0.0, 0.3):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            how = Batching(micro=5, discard=discard)
            passes_of(plain().train(), data.inputs[chosen], data.labels[chosen], how, 1).gradient()
            states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize(("batch", "share", "kept"), [(10, 0.3, 7), (100, 0.29, 71), (3, 0.3, 3), (7, 0.99, 1)])
def test_how_many_stay(batch, share, kept):
    assert kept_samples(batch, share) == kept


# -- batch sizes over the epochs -----------------------------------------------------------------------------------


def test_stages_say_the_batch_sizes_and_the_steps():
    config = TrainConfig(batch_size=8, epochs=5, batch_schedule="1:4@0.005, 3-4:11")
    plan = plan_steps(config, 22)
    assert plan.sizes == (4, 8, 11, 11, 8)
    assert plan.total == 6 + 3 + 2 + 2 + 3
    assert batch_sizes(config) == (8, 4, 11)


def test_the_papers_first_epoch_at_another_rate():
    config = fill_schedule(TrainConfig(lr=0.05, batch_size=8, epochs=3, batch_schedule="1:4@0.005"))
    plan = plan_steps(config, 22)
    schedule = build_schedule(config, plan)
    assert [schedule(s) for s in range(plan.total)] == pytest.approx([0.005] * 6 + [0.05] * 6)


def test_a_stage_without_a_rate_follows_the_scaling_rule():
    options = {"lr": 0.1, "batch_size": 8, "epochs": 2, "batch_schedule": "1:2"}
    for rule, rate in ((None, 0.1), ("linear", 0.025), ("sqrt", 0.05)):
        scaling = {"lr_scaling": rule, "lr_batch": 8} if rule else {}
        config = fill_schedule(TrainConfig(**options, **scaling))
        assert build_schedule(config, plan_steps(config, 22))(0) == pytest.approx(rate)


def test_the_loop_takes_the_batches_of_the_plan():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return x[:, 0, 0, :3] * self.scale

    model = Watch()
    plan = plan_steps(TrainConfig(batch_size=16, epochs=2, batch_schedule="1:9"), 22)
    state = TrainingState(
        model, build_optimizer(TrainConfig(), model.parameters()), torch.Generator().manual_seed(2), CPU
    )
    data = samples()
    rows = list(fit(state, data, data, schedule=constant(0.1), batch_size=16, epochs=2, batching=Batching(plan=plan)))
    assert seen == [9, 9, 4, 16, 6]
    assert [row["step"] for row in rows] == [0, 3, 5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("512", "expected EPOCHS:BATCH"),
        ("1:512@", "expected EPOCHS:BATCH"),
        ("1:512@1e", "expected EPOCHS:BATCH"),
        ("1:0", "expected EPOCHS:BATCH"),
        ("1:8,", "got ''"),
        ("0:8", "not ascending ones from 1 to 9"),
        ("3-2:8", "not ascending"),
        ("1-3:8,3:9", "not ascending ones from 4 to 9"),
        ("10:8", "not ascending"),
    ],
)
def test_stages_of_another_form_are_refused(text, words):
    with pytest.raises(OptionError, match=words):
        parse_stages(text, 9)


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"discard_epochs": 3}, "set discard"),
        ({"micro_batch_size": 65}, "micro_batch_size 65 is above the batch size 64"),
        ({"ghost_batch_size": 48}, "does not divide the batch size 64"),
        ({"ghost_batch_size": 32, "micro_batch_size": 16}, "does not divide the micro_batch_size 16"),
        ({"ghost_batch_size": 16, "batch_schedule": "1:24"}, "does not divide the batch size 24"),
        ({"allow_microbatch_bn": True}, "needs micro_batch_size or several processes"),
        ({"allow_microbatch_bn": True, "micro_batch_size": 8, "ghost_batch_size": 8}, "no ghost_batch_size"),
    ],
)
def test_batches_that_contradict_themselves_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        check_batches(TrainConfig(**options))


def test_what_depends_on_the_network_is_refused():
    with pytest.raises(OptionError, match="has no batch normalisation"):
        ghost_norms(TrainConfig(ghost_batch_size=8), plain())
    with pytest.raises(OptionError, match="set a ghost_batch_size that divides them, or allow_microbatch_bn"):
        ghost_norms(TrainConfig(micro_batch_size=8), residual())
    assert ghost_norms(TrainConfig(micro_batch_size=8), plain()) is None
    assert ghost_norms(TrainConfig(micro_batch_size=64), residual()) is None
    assert ghost_norms(TrainConfig(micro_batch_size=8, allow_microbatch_bn=True), residual()) is not None
    assert ghost_norms(TrainConfig(), residual()) is None
