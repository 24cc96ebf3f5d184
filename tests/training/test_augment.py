"""Augmentation against a loop over samples written by hand, its distribution, and its place in a run."""

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.config.training import TrainConfig, TrainRun
from landscape.data import ImageSet, Normalization, prepare
from landscape.errors import OptionError
from landscape.problem.running import seeded
from landscape.training.augment import CropFlip, augmentation_generator, augmentation_of
from landscape.training.batches import Batching, ghost_norms, passes_of
from landscape.training.loop import fit
from landscape.training.optimizers import build_optimizer
from landscape.training.samples import Split
from landscape.training.schedules import constant
from landscape.training.state import TrainingState
from landscape.workflows import train as workflow

CPU = torch.device("cpu")
NORMALIZATION = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def images(count=12, size=6, seed=0):
    pixels = torch.randint(
        256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return ImageSet("toy", "train", pixels, torch.arange(count) % 3, ("a", "b", "c"))


def by_hand(pixels, drawn, padding, dtype):
    """Pad the bytes with black, crop, mirror, and only then normalise; one sample at a time."""
    size, out = pixels.shape[2], []
    for image, (u, v, mirror) in zip(pixels, drawn.tolist(), strict=True):
        wide = torch.zeros(3, size + 2 * padding, size + 2 * padding, dtype=torch.uint8)
        wide[:, padding : padding + size, padding : padding + size] = image
        crop = wide[:, u : u + size, v : v + size]
        out.append(torch.stack([row.flip(1) if mirror else row for row in crop]))
    cropped = ImageSet("toy", "train", torch.stack(out), torch.zeros(len(out), dtype=torch.int64), ("a",))
    return prepare(cropped, NORMALIZATION, dtype=dtype)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("padding", [4, 1])
def test_a_batch_is_what_a_loop_over_samples_gives_bit_for_bit(dtype, padding):
    toy = images(40)
    augment = CropFlip(NORMALIZATION, padding)
    drawn = augment.draw(40, torch.Generator().manual_seed(1))
    inputs, _ = prepare(toy, NORMALIZATION, dtype=dtype)
    before = inputs.clone()
    assert torch.equal(augment(inputs, drawn), by_hand(toy.images, drawn, padding, dtype))
    assert torch.equal(inputs, before)


def test_offsets_and_flips_are_uniform_and_independent():
    drawn = CropFlip(NORMALIZATION).draw(81 * 2 * 200, torch.Generator().manual_seed(3)).long()
    assert drawn[:, :2].max() == 8
    assert drawn[:, 2].max() == 1
    cells = (drawn[:, 0] * 9 + drawn[:, 1]) * 2 + drawn[:, 2]
    counts = torch.bincount(cells, minlength=162).numpy()
    assert chisquare(counts).pvalue > 1e-3  # jointly, so each alone and no two together


def test_padding_is_normalised_black():
    inputs, _ = prepare(images(1), NORMALIZATION, dtype=torch.float64)
    corner = CropFlip(NORMALIZATION)(inputs, torch.tensor([[0, 0, 0]], dtype=torch.uint8))[0, :, 0, 0]
    expected = [-0.4914 / 0.2470, -0.4822 / 0.2435, -0.4465 / 0.2616]
    torch.testing.assert_close(corner, torch.tensor(expected, dtype=torch.float64))


def split(count=22, size=6):
    inputs, labels = prepare(images(count, size), NORMALIZATION, dtype=torch.float64)
    return Split(inputs, labels, CropFlip(NORMALIZATION))


def test_what_is_drawn_does_not_depend_on_the_batches():
    order = torch.randperm(22, generator=torch.Generator().manual_seed(2))
    whole, parts = (
        [torch.cat(leaves) for leaves in zip(*split().batches(size, order, augmentation_generator(5)), strict=True)]
        for size in (22, 4)
    )
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])
    assert not torch.equal(whole[0], split().inputs[order])
    plain = torch.cat([inputs for inputs, _ in split().batches(4, order)])
    assert torch.equal(plain, split().inputs[order])


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)).double()


def state_of(model, optimizer="sgd"):
    built = build_optimizer(TrainConfig(optimizer=optimizer, lr=0.01), model.parameters())
    order = torch.Generator().manual_seed(5)
    return TrainingState(model, built, order, CPU, augment=augmentation_generator(5))


def go(state, epochs, batching=None):
    how = {"schedule": constant(0.01), "batch_size": 8, "epochs": epochs, "batching": batching or Batching()}
    return list(fit(state, split(), split(9), **how))


def test_the_loop_trains_on_what_the_generator_says():
    ours, bare = network(), network()
    go(state_of(ours), 2)
    data, augment = split(), CropFlip(NORMALIZATION)
    order, draws = torch.Generator().manual_seed(5), augmentation_generator(5)
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(2):
        permutation, drawn = torch.randperm(22, generator=order), augment.draw(22, draws)
        for start in range(0, 22, 8):
            chosen = permutation[start : start + 8]
            pixels = images(22).images[chosen]
            inputs = by_hand(pixels, drawn[start : start + 8], 4, torch.float64)
            optimizer.zero_grad()
            nn.functional.cross_entropy(bare(inputs), data.labels[chosen]).backward()
            optimizer.step()
    for one, two in zip(ours.parameters(), bare.parameters(), strict=True):
        assert torch.equal(one, two)


def test_micro_batches_and_ghosts_see_the_same_augmented_batch():
    states = []
    for micro in (None, 4):
        model = network()
        config = TrainConfig(batch_size=8, micro_batch_size=micro, ghost_batch_size=2)
        ghosts = ghost_norms(config, model)
        with ghosts.installed():
            go(state_of(model), 2, Batching(micro=micro, ghosts=ghosts))
        states.append(list(model.state_dict().values()))
    torch.testing.assert_close(*states, rtol=1e-9, atol=1e-12)


def test_every_pass_over_a_batch_sees_the_same_inputs():
    seen, model = [], network()
    data = split()
    inputs, labels = next(data.batches(8, torch.arange(22), augmentation_generator(1)))
    handle = model.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    passes = passes_of(model, inputs, labels, Batching(), 1, data)
    passes.gradient()
    passes.gradient_again()
    passes.hessian_products(list(model.parameters()), [[torch.ones_like(p) for p in model.parameters()]])
    list(passes.logits())
    handle.remove()
    assert len(seen) == 4
    assert all(torch.equal(x, inputs) for x in seen)


@pytest.mark.parametrize("optimizer", ["sgd", "sam", "cblr"])
def test_a_stopped_run_goes_on_bit_for_bit(optimizer, tmp_path):
    with seeded(9, CPU):
        whole = network()
        go(state_of(whole, optimizer), 3)
    with seeded(9, CPU):
        stopped = state_of(network(), optimizer)
        go(stopped, 1)
        torch.save(stopped.to_plain(), tmp_path / "state.pt")
    with seeded(1, CPU):
        again = state_of(network(), optimizer)
        again.restore(torch.load(tmp_path / "state.pt", weights_only=True))
        go(again, 3)
    for (name, one), two in zip(whole.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


class CountReads(TorchDispatchMode):
    """Counts the operations that bring a value from the device to Python."""

    reads = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket._qualified_op_name
        self.reads += name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
        return operation(*args, **(kwargs or {}))


def test_no_batch_waits_for_the_device():
    def reads(size):
        with CountReads() as counter:
            list(split().batches(size, torch.arange(22), augmentation_generator(1)))
        return counter.reads

    assert reads(2) == reads(22)


def test_augmentation_is_apart_from_the_order():
    order = torch.Generator().manual_seed(5)
    assert augmentation_generator(5).initial_seed() != order.initial_seed()
    assert augmentation_generator(5).initial_seed() != augmentation_generator(6).initial_seed()


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("digits", "crop-flip", "a mirrored digit is another sign.*fashion-mnist, cifar10, cifar100"),
        ("mnist", "crop-flip", "mirrored digit"),
        ("svhn", "crop-flip", "mirrored digit"),
        ("svhn-extra", "crop-flip", "mirrored digit"),
        ("cifar10", "imagenet", "take crop-flip"),
        ("digits", "imagenet", "leave it out"),
        ("imagenet", "crop-flip", "take imagenet"),
    ],
)
def test_what_does_not_fit_is_refused(name, asked, said):
    with pytest.raises(OptionError, match=said):
        augmentation_of(name, asked)


def test_the_usual_augmentation_is_no_setting():
    assert augmentation_of("imagenet", None) == "imagenet"
    assert augmentation_of("cifar10", None) == "none"
    for data, augment in (("imagenet:x", "imagenet"), ("cifar10:x", "none"), ("digits", "none")):
        asked, left = (workflow.resolve(TrainConfig(data=data, augment=a)) for a in (augment, None))
        assert asked.digest() == left.digest()
    assert workflow.resolve(TrainConfig(data="cifar10:x", augment="crop-flip")).plain()["augment"] == "crop-flip"


def test_a_run_refuses_before_it_writes(tmp_path):
    with pytest.raises(OptionError, match="mirrored digit"):
        workflow.train(TrainConfig(augment="crop-flip"), TrainRun(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
