from __future__ import annotations

from pathlib import Path

import pytest
import torch

from landscape.checkpoint import load_tensors, read_checkpoint
from landscape.data import Normalization, choose_samples, load_images, parse_data, prepare
from landscape.models import build_model, parse_model
from landscape.models.residual import PaddingShortcut


@pytest.mark.parametrize(("inputs", "outputs", "before"), [(2, 4, 1), (3, 6, 1), (5, 10, 2), (4, 4, 0)])
@pytest.mark.parametrize("side", [8, 7])
def test_padding_shortcut_subsamples_and_pads_half_on_each_side(
    inputs: int, outputs: int, before: int, side: int
) -> None:
    x = torch.randn(2, inputs, side, side)
    expected = torch.zeros(2, outputs, (side + 1) // 2, (side + 1) // 2)
    for channel in range(inputs):
        for i in range(0, side, 2):
            for j in range(0, side, 2):
                expected[:, before + channel, i // 2, j // 2] = x[:, channel, i, j]
    assert torch.equal(PaddingShortcut(inputs, outputs, 2)(x), expected)


def test_projection_adds_its_parameters_where_shapes_change_only() -> None:
    plain = build_model(parse_model("resnet20"), classes=10, channels=3).state_dict()
    projected = build_model(parse_model("resnet20:shortcut=projection"), classes=10, channels=3).state_dict()
    added = projected.keys() - plain.keys()
    assert plain.keys() <= projected.keys()
    assert {n.rsplit(".", 2)[0] for n in added} == {"layer2.0.shortcut", "layer3.0.shortcut"}
    assert projected["layer3.0.shortcut.0.weight"].shape == (64, 32, 1, 1)


@pytest.mark.shared
def test_names_and_shapes_are_those_of_the_shared_checkpoint(shared_folder: Path) -> None:
    tensors = read_checkpoint(shared_folder / "checkpoints" / "resnet20-cifar10.th").tensors
    own = build_model(parse_model("resnet20"), classes=10, channels=3).state_dict()
    assert {n: t.shape for n, t in tensors.items()} == {
        n: t.shape for n, t in own.items() if not n.endswith("num_batches_tracked")
    }


@pytest.mark.shared
@pytest.mark.slow
def test_shared_checkpoint_reaches_its_published_accuracy(shared_folder: Path, cifar10_folder: Path) -> None:
    # 91.73% of the 10,000 test images (the checkpoint's README).
    assert _correct(shared_folder, cifar10_folder, "all") == 9173


@pytest.mark.shared
def test_shared_checkpoint_classifies_the_first_test_images(shared_folder: Path, cifar10_folder: Path) -> None:
    # A draw of 512 from images with accuracy 0.9173 has a standard error of 0.0122; any wrong pixel order, shortcut
    # or normalisation costs tens of percent.
    assert abs(_correct(shared_folder, cifar10_folder, "first:512") / 512 - 0.9173) < 4 * 0.0122


def _correct(shared_folder: Path, cifar10_folder: Path, samples: str) -> int:
    checkpoint = read_checkpoint(shared_folder / "checkpoints" / "resnet20-cifar10.th")
    model = build_model(parse_model("resnet20"), classes=10, channels=3, size=32).eval()
    load_tensors(model, checkpoint.tensors, checkpoint.path)
    images = load_images(parse_data(f"cifar10:{cifar10_folder}"), "test")
    inputs, labels = prepare(
        images,
        Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        indices=choose_samples(len(images), samples, 0),
    )
    with torch.no_grad():
        predicted = torch.cat([model(block).argmax(1) for block in inputs.split(256)])
    return int((predicted == labels).sum())
