"""The loop against a bare PyTorch loop, evaluation against one whole batch, and how it fails."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.config.training import TrainConfig
from landscape.errors import CheckpointError, DivergedError, NonFiniteError, OptionError, OutOfMemoryError
from landscape.problem.running import seeded
from landscape.training.events import StepDone
from landscape.training.loop import evaluate, fit, steps_per_epoch, train_epoch
from landscape.training.optimizers import OPTIMIZERS, WRAPPERS, build_optimizer
from landscape.training.samples import Split
from landscape.training.schedules import constant
from landscape.training.state import TrainingState

CPU = torch.device("cpu")
SAMPLES, BATCH = 22, 8  # a ragged last batch of 6


def network(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(64, 3),
        ).to(dtype)


def split(samples=SAMPLES, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return Split(
        torch.randn(samples, 2, 4, 4, generator=generator, dtype=dtype),
        torch.randint(3, (samples,), generator=generator),
    )


def fresh(model, order_seed=5, **options):
    optimizer = build_optimizer(TrainConfig(**{"lr": 0.05, **options}), model.parameters())
    return TrainingState(model, optimizer, torch.Generator().manual_seed(order_seed), CPU)


def run(state, epochs, lr=0.05, train=None, **kwargs):
    train = train if train is not None else split()
    return list(fit(state, train, split(10, 1), schedule=constant(lr), batch_size=BATCH, epochs=epochs, **kwargs))


def test_the_trajectory_is_that_of_a_bare_loop():
    train, bare = split(), network()
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order = torch.Generator().manual_seed(5)
    with seeded(9, CPU):
        bare.train()
        for _ in range(3):
            permutation = torch.randperm(SAMPLES, generator=order)
            for start in range(0, SAMPLES, BATCH):
                chosen = permutation[start : start + BATCH]
                optimizer.zero_grad()
                functional.cross_entropy(bare(train.inputs[chosen]), train.labels[chosen]).backward()
                optimizer.step()
    ours = network()
    with seeded(9, CPU):
        run(fresh(ours), 3)
    for (name, expected), got in zip(bare.state_dict().items(), ours.state_dict().values(), strict=True):
        assert torch.equal(expected, got), name


def test_rows_count_epochs_and_steps_and_start_before_any_step():
    model = network()
    before = copy.deepcopy(model.state_dict())
    state = fresh(model)
    rows = fit(state, split(), split(10, 1), schedule=constant(0.05), batch_size=BATCH, epochs=2)
    first = next(rows)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    rest = list(rows)
    assert [row["epoch"] for row in (first, *rest)] == [0, 1, 2]
    assert [row["step"] for row in (first, *rest)] == [0, 3, 6]
    assert steps_per_epoch(SAMPLES, BATCH) == 3


def test_evaluation_weights_samples_not_batches():
    model, data = network().eval(), split()
    with torch.no_grad():
        logits = model(data.inputs)
        loss = functional.cross_entropy(logits, data.labels).item()
        accuracy = (logits.argmax(1) == data.labels).double().mean().item()
    for batch_size in (1, 5, BATCH, 100):
        metrics = evaluate(model, data, batch_size)
        assert math.isclose(metrics.loss, loss, rel_tol=1e-12)
        assert math.isclose(metrics.accuracy, accuracy, rel_tol=1e-12)


def test_evaluation_changes_no_buffer():
    model = network()
    before = copy.deepcopy(model.state_dict())
    evaluate(model, split(), BATCH)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_epoch_uses_every_sample_once():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x):
            seen.append(x[:, 0, 0, 0].clone())
            return x[:, 0, 0, :3] * self.scale

    data = split()
    train_epoch(fresh(Watch()), data, schedule=constant(0.1), batch_size=BATCH)
    assert [len(batch) for batch in seen] == [8, 8, 6]
    assert torch.equal(torch.cat(seen).sort().values, data.inputs[:, 0, 0, 0].sort().values)
    assert not torch.equal(torch.cat(seen), data.inputs[:, 0, 0, 0])


def test_the_learning_rate_follows_the_schedule():
    rates = []
    state = fresh(network(), momentum=0)

    def note(event):
        if isinstance(event, StepDone):
            rates.append(state.optimizer.param_groups[0]["lr"])

    rows = list(
        fit(
            state,
            split(),
            split(10, 1),
            schedule=lambda step: 0.1 / (step + 1),
            batch_size=BATCH,
            epochs=2,
            on_event=note,
        )
    )
    assert rates == [0.1 / (step + 1) for step in range(6)]
    assert [row["lr"] for row in rows] == [0.1, 0.1 / 3, 0.1 / 6]


class CountReads(TorchDispatchMode):
    """Counts the operations that bring a value from the device to Python."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket._qualified_op_name
        self.reads += name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
        return operation(*args, **(kwargs or {}))


# Not adam and adamw: torch counts their steps in a tensor that is on the CPU whatever the device is.
@pytest.mark.parametrize("optimizer", [*sorted(OPTIMIZERS.keys() - {"adam", "adamw"}), *WRAPPERS, "asam:base=cblr"])
def test_no_step_waits_for_the_device(optimizer):
    def reads(samples):
        state, data = fresh(network(), optimizer=optimizer), split(samples)
        with CountReads() as counter:
            train_epoch(state, data, schedule=constant(0.01), batch_size=BATCH)
        return counter.reads

    assert reads(16) == reads(80)


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_restored_state_goes_on_bit_for_bit(stop_after, tmp_path):
    data, test = split(dtype=torch.float32), split(10, 1, torch.float32)

    def go(state, epochs):
        return list(fit(state, data, test, schedule=constant(0.05), batch_size=BATCH, epochs=epochs))

    with seeded(9, CPU):
        whole = network(torch.float32)
        rows = go(fresh(whole), 3)
    with seeded(9, CPU):
        stopped = fresh(network(torch.float32))
        go(stopped, stop_after)
        torch.save(stopped.to_plain(), tmp_path / "state.pt")
    with seeded(1234, CPU):
        again = fresh(network(torch.float32), order_seed=77)
        again.restore(torch.load(tmp_path / "state.pt", weights_only=True))
        rest = go(again, 3)
    for (name, expected), got in zip(whole.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(expected, got), name
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in (*rows, *rest)]
    assert timeless[len(rows) :] == timeless[len(rows) - len(rest) : len(rows)]


def test_a_state_that_does_not_fit_is_refused():
    state = fresh(network())
    plain = state.to_plain()
    with pytest.raises(CheckpointError, match="does not carry the state of this run"):
        fresh(nn.Linear(2, 2)).restore(plain)
    with pytest.raises(CheckpointError, match="KeyError"):
        fresh(network()).restore({"state_dict": plain["state_dict"]})


def test_divergence_names_the_first_step_and_its_rate():
    data = split(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    data.inputs[order[19]] = math.inf  # in the third batch of the first epoch
    with pytest.raises(DivergedError, match=r"step 3 \(epoch 1\), learning rate 0\.03"):
        train_epoch(fresh(network()), data, schedule=constant(0.03), batch_size=BATCH)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *WRAPPERS])
def test_every_optimizer_leaves_it_to_the_loop_to_say_that_training_diverged(optimizer):
    data = split(40)
    data.inputs[7] = math.nan
    with pytest.raises(DivergedError):
        train_epoch(fresh(network(), optimizer=optimizer), data, schedule=constant(0.01), batch_size=BATCH)
    # Seeded: dropout may leave nothing to overflow.
    with seeded(9, CPU), pytest.raises(DivergedError):
        run(fresh(network(), optimizer=optimizer), 3, lr=1e300)


def test_weights_that_only_the_last_step_spoils_are_noticed():
    state = fresh(network())
    rows = fit(state, split(8), split(10, 1), schedule=constant(1e300), batch_size=BATCH, epochs=1)
    next(rows)
    with pytest.raises(DivergedError, match=r"step 1 \(epoch 1\), learning rate 1e\+300"):
        next(rows)


def test_data_that_are_not_finite_are_no_divergence():
    data = split()
    data.inputs[4] = math.nan
    with pytest.raises(NonFiniteError, match="before any step"):
        run(fresh(network()), 1, train=data)


def test_a_single_sample_for_batch_norm_is_explained():
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3), nn.BatchNorm1d(3)).double()
    with pytest.raises(OptionError, match=r"more than one value a channel.*another batch size than 8"):
        train_epoch(fresh(model), split(17), schedule=constant(0.1), batch_size=BATCH)


@pytest.mark.parametrize(
    "words", ["CUDA out of memory. Tried to allocate", "DefaultCPUAllocator: can't allocate memory: you tried"]
)
def test_out_of_memory_suggests_micro_batches_of_half_the_batch(words):
    class Full(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            raise RuntimeError(words)

    with pytest.raises(OutOfMemoryError, match="8 samples in a pass; try micro_batch_size 4,"):
        train_epoch(fresh(Full()), split(), schedule=constant(0.1), batch_size=BATCH)


def test_an_error_of_the_network_itself_passes_unchanged():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train_epoch(fresh(Broken()), split(), schedule=constant(0.1), batch_size=BATCH)


def test_seeded_gives_the_same_numbers_and_leaves_no_trace():
    torch.manual_seed(42)
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded(7, CPU):
            draws.append(torch.rand(4))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*draws)
