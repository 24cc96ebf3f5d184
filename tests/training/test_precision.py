"""Reduced precision: which passes take it, what is put back, and how far from full precision a step is."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.batches import Batching, passes_of
from landscape.training.ghost_norm import GhostNorms, ghost_batch_norm
from landscape.training.loop import evaluate, train_epoch
from landscape.training.optimizers import build_optimizer
from landscape.training.precision import FULL, Precision, check_precision
from landscape.training.samples import Split
from landscape.training.schedules import constant
from landscape.training.state import TrainingState

BF16 = Precision("bf16", "cpu")
N = 12


class Watched(nn.Module):
    """Notes the type that its convolution gives and the matmul flags, in each forward and backward pass."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 3)
        self.seen, self.flags, self.backward_flags = [], [], []

    def forward(self, x):
        y = self.conv(x)
        self.seen.append(y.dtype)
        self.flags.append(flags())
        if y.requires_grad:
            y.register_hook(lambda g: self.backward_flags.append(flags()))
        return self.head(torch.relu(self.norm(y)).flatten(1))


def flags():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Watched().train()


def data():
    generator = torch.Generator().manual_seed(1)
    return Split(torch.randn(N, 2, 4, 4, generator=generator), torch.randint(3, (N,), generator=generator))


def passes(model, **how):
    return passes_of(model, data().inputs, data().labels, Batching(**how), 1, data())


def test_bf16_gradients_are_those_of_an_autocast_forward_pass():
    bare, model = network(), network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = bare(data().inputs)
    loss = cross_entropy(logits.float(), data().labels)
    loss.backward()
    got = passes(model, precision=BF16).gradient()
    assert got.dtype == torch.float32
    assert torch.equal(got, loss.detach())
    for ours, theirs in zip(model.parameters(), bare.parameters(), strict=True):
        assert ours.dtype == ours.grad.dtype == torch.float32
        assert torch.equal(ours.grad, theirs.grad)
    assert model.norm.running_mean.dtype == torch.float32
    full = network()
    passes(full).gradient()
    for ours, theirs in zip(model.parameters(), full.parameters(), strict=True):
        assert not torch.equal(ours.grad, theirs.grad)
        # Eight bits of mantissa in each of a few operations, relative to the whole tensor.
        assert (ours.grad - theirs.grad).norm() < 0.1 * theirs.grad.norm() + 1e-3


def test_training_passes_are_in_bf16_and_the_others_in_full():
    model = network()
    batch = passes(model, precision=BF16)
    batch.gradient()
    batch.gradient_again()
    assert set(model.seen) == {torch.bfloat16}
    model.seen.clear()
    parameters = list(model.parameters())
    vectors = [[torch.ones_like(p) for p in parameters]]
    products = batch.hessian_products(parameters, vectors)
    (part,) = batch.logits()
    assert part.values.dtype == torch.float32
    list(batch.all_logits())
    evaluate(model, data(), 5)
    assert set(model.seen) == {torch.float32}
    expected = passes(network()).hessian_products
    full = network()
    parameters = list(full.parameters())
    expected = passes(full).hessian_products(parameters, vectors)
    torch.testing.assert_close(products, expected)


@pytest.mark.parametrize("micro", [None, 4])
def test_discarded_samples_are_chosen_as_they_are_trained_on(micro):
    model = network()
    passes(model, micro=micro, discard=0.5, precision=BF16, ghosts=GhostNorms(model, 4)).gradient()
    assert set(model.seen) == {torch.bfloat16}


def test_ghost_batches_keep_their_statistics_in_float32():
    x = torch.randn(8, 3, 2, 2)
    for parts in ((torch.ones(3), torch.zeros(3)), (None, None)):
        y, mean, variance = ghost_batch_norm(x.bfloat16(), 4, *parts, 1e-5)
        assert (y.dtype, mean.dtype, variance.dtype) == (torch.bfloat16, torch.float32, torch.float32)
        torch.testing.assert_close(mean, ghost_batch_norm(x, 4, *parts, 1e-5)[1], atol=0.05, rtol=0.02)


def test_tf32_sets_its_flags_for_training_passes_and_puts_them_back():
    before = flags()
    torch.backends.cudnn.allow_tf32 = False
    try:
        outside, model = flags(), network()
        batch = passes(model, precision=Precision("tf32", "cpu"), micro=6, discard=0.5)
        assert (set(model.flags), flags()) == ({("high", True)}, outside)  # the pass that chooses
        batch.gradient()
        assert set(model.flags) == set(model.backward_flags) == {("high", True)}
        assert flags() == outside
        model.flags.clear()
        batch.hessian_products(list(model.parameters()), [[torch.ones_like(p) for p in model.parameters()]])
        evaluate(model, data(), 5)
        assert set(model.flags) == {outside}
        with pytest.raises(ZeroDivisionError), Precision("tf32").products():
            raise ZeroDivisionError
        assert flags() == outside
    finally:
        torch.backends.cudnn.allow_tf32 = before[1]
    assert flags() == before


def test_full_precision_touches_no_flag():
    model = network()
    passes(model).gradient()
    assert set(model.flags) == {flags()}
    assert FULL.name == "fp32"


@pytest.mark.parametrize("optimizer", ["sgd", "lamb", "cblr", "kfac-f", "sam:base=cblr"])
def test_an_epoch_in_bf16_leaves_finite_float32(optimizer):
    model = network()
    config = TrainConfig(optimizer=optimizer)
    state = TrainingState(model, build_optimizer(config, model.parameters()), torch.Generator(), torch.device("cpu"))
    before = copy.deepcopy(model.state_dict())
    train_epoch(state, data(), schedule=constant(0.01), batch_size=6, batching=Batching(precision=BF16))
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_float64_with_less_is_refused(precision):
    with pytest.raises(OptionError, match=f"precision {precision} computes with less than float32"):
        check_precision(TrainConfig(precision=precision, dtype="float64"))
    check_precision(TrainConfig(precision=precision))
