"""AlexNet, bottleneck, wide and D networks: published sizes, their definitions, and measuring a tiny one of each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import landscape
from landscape.errors import OptionError
from landscape.models import build_model, parse_model


def _count(text: str, classes: int, size: int = 32) -> int:
    return sum(p.numel() for p in build_model(parse_model(text), classes=classes, channels=3, size=size).parameters())


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize(
    ("name", "published", "replaced", "by"),
    [
        # Parameters of the ImageNet forms as torchvision's documentation states them.
        ("resnet50", 25_557_032, 64 * 3 * 49 + _linear(2048, 1000), 64 * 3 * 9 + _linear(2048, 10)),
        (
            "alexnet",
            61_100_840,
            64 * 3 * 121 + 192 * 64 * 25 + _linear(9216, 4096) + _linear(4096, 1000),
            64 * 3 * 9 + 192 * 64 * 9 + _linear(1024, 4096) + _linear(4096, 10),
        ),
    ],
)
def test_cifar_forms_differ_from_the_published_ones_where_they_say(
    name: str, published: int, replaced: int, by: int
) -> None:
    assert _count(name, 10) == published - replaced + by


def test_resnet50_d_is_resnet50_but_for_its_stem() -> None:
    # 7x7 stem out; 3x3 of 3-32, 32-32 and 32-64 channels in, with gamma and beta for 32 + 32 channels more.
    derived = 25_557_032 - 64 * 3 * 49 + 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32)
    assert _count("resnet50-d", 1000, 224) == derived
    assert f"{derived / 1e6:.2f}" == "25.58"  # timm's documentation


@pytest.mark.parametrize(("name", "millions"), [("wrn28-10", 36.5), ("wrn16-8", 11.0)])
def test_wide_networks_have_the_papers_sizes(name: str, millions: float) -> None:
    # Zagoruyko & Komodakis 2016, table 4 and 5, for CIFAR-10.
    assert round(_count(name, 10) / 1e6, 1) == millions


@pytest.mark.parametrize(("depth", "k"), [(28, 10), (16, 8)])
def test_wide_networks_by_formula(depth: int, k: int) -> None:
    n, total, inputs = (depth - 4) // 6, 9 * 3 * 16, 16
    for channels in (16 * k, 32 * k, 64 * k):
        for block in range(n):
            total += 9 * inputs * channels + 9 * channels**2 + 2 * inputs + 2 * channels
            total += inputs * channels if block == 0 else 0
            inputs = channels
    assert _count(f"wrn{depth}-{k}", 100) == total + 2 * inputs + _linear(inputs, 100)


def _affine(y: torch.Tensor, weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    scale = weights[f"{name}.weight"] / (weights[f"{name}.running_var"] + 1e-5).sqrt()
    shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
    return y * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)


def test_resnet50_is_the_formula() -> None:
    model = build_model(parse_model("resnet50:width=0.0625"), classes=5, channels=3, size=16).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.train()(x)  # running statistics that are not those of a fresh network
    model.eval()
    weights = model.state_dict()

    def convolved(y: torch.Tensor, where: str, number: int, **how: int) -> torch.Tensor:
        z = functional.conv2d(y, weights[f"{where}conv{number}.weight"], **how)
        return _affine(z, weights, f"{where}bn{number}")

    y = convolved(x, "", 1, padding=1).clamp(min=0)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            where, stride = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            inner = convolved(y, where, 1).clamp(min=0)
            inner = convolved(inner, where, 2, stride=stride, padding=1).clamp(min=0)
            short = y
            if block == 0:
                short = functional.conv2d(y, weights[f"{where}shortcut.0.weight"], stride=stride)
                short = _affine(short, weights, f"{where}shortcut.1")
            y = (convolved(inner, where, 3) + short).clamp(min=0)
    expected = y.mean((2, 3)) @ weights["linear.weight"].T + weights["linear.bias"]
    torch.testing.assert_close(model(x), expected)


def test_alexnet_has_torchvisions_names() -> None:
    ours = build_model(parse_model("alexnet:width=0.125"), classes=5, channels=3, size=32).state_dict()
    layers = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]
    assert list(ours) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def test_resnet50_d_strides_in_the_3x3_and_averages_in_the_shortcut() -> None:
    model = build_model(parse_model("resnet50-d:width=0.125"), classes=5, channels=3, size=64).eval()
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    strided = [n for n, m in convolutions.items() if m.stride == (2, 2)]
    assert strided == ["stem.0", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]
    assert [m.kernel_size for m in convolutions.values()][:3] == [(3, 3)] * 3
    shortcut = model.get_submodule("layer2.0.shortcut")
    weight = model.get_parameter("layer2.0.shortcut.1.weight")[:, :, 0, 0]
    x = torch.randn(2, weight.shape[1], 6, 6)
    means = torch.stack(
        [x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for i in range(3) for j in range(3)]
    )
    expected = (means @ weight.T).permute(1, 2, 0).reshape(2, -1, 3, 3) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(shortcut(x), expected, rtol=1e-4, atol=1e-5)
    assert shortcut(torch.randn(1, weight.shape[1], 7, 7)).shape[2:] == (4, 4)


def test_zero_gamma_makes_every_block_its_shortcut() -> None:
    model = build_model(parse_model("resnet50-d:width=0.125,zero_gamma=true"), classes=5, channels=3, size=32).eval()
    zero = [n for n, p in model.named_parameters() if n.endswith("bn3.weight") and not p.any()]
    assert len(zero) == 3 + 4 + 6 + 3
    x = torch.randn(2, 64 // 8 * 4, 4, 4).relu()
    assert torch.equal(model.get_submodule("layer1.1")(x), x)
    plain = build_model(parse_model("resnet50-d:width=0.125"), classes=5, channels=3, size=32)
    assert bool((plain.get_parameter("layer1.0.bn3.weight") == 1).all())


def test_a_wide_block_normalises_first_and_keeps_its_input() -> None:
    model = build_model(parse_model("wrn16-8:width=0.125,dropout=0.5"), classes=5, channels=3, size=8).double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = model.state_dict()

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        return _affine(y, weights, name).clamp(min=0)

    y = functional.conv2d(x, weights["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in (0, 1):
            where, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            a = norm(y, f"{where}.bn1")
            short = functional.conv2d(a, weights[f"{where}.shortcut.weight"], stride=stride) if block == 0 else y
            inner = functional.conv2d(a, weights[f"{where}.conv1.weight"], stride=stride, padding=1)
            y = functional.conv2d(norm(inner, f"{where}.bn2"), weights[f"{where}.conv2.weight"], padding=1) + short
    expected = norm(y, "bn").mean((2, 3)) @ weights["linear.weight"].T + weights["linear.bias"]
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("text", ["wrn16-8:width=0.125,dropout=0.5", "alexnet:width=0.0625"])
def test_dropout_is_of_training_only(text: str) -> None:
    model = build_model(parse_model(text), classes=5, channels=3, size=32)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))


def test_dropout_is_a_share() -> None:
    assert str(parse_model("wrn28-10:dropout=0")) == "wrn28-10:dropout=0"
    for value in ("1", "-0.1", "nan", "x"):
        with pytest.raises(OptionError, match="a share of at least 0 and below 1"):
            parse_model(f"wrn28-10:dropout={value}")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("alexnet:width=0.02", 32),
        ("resnet50:width=0.05", 8),
        ("resnet50-d:width=0.05", 32),
        ("wrn16-8:width=0.02,dropout=0.3", 8),
        ("mlp:depth=2,width=4,bias=false", 8),
    ],
)
def test_a_tiny_network_of_each_family_is_measured(text: str, size: int) -> None:
    model = build_model(parse_model(text), classes=3, channels=1, size=size, seed=1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 1, size, size, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (6,), generator=generator)
    with torch.no_grad():  # running statistics that are not those of a fresh network
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.double().train()(x)
    problem = landscape.Problem(model, nn.CrossEntropyLoss(), (x, y), dtype=torch.float64, batch_size=3)
    analysis = landscape.analyze(problem, ["hessian_trace", "fisher_rao", "jacobian_norm"], budget=6, rtol=0.5)
    records = analysis.measures
    assert all(record.skipped is None and math.isfinite(record.value) for record in records.values())
    model.eval()
    squares = []
    for n in range(6):
        loss = functional.cross_entropy(model(x[n : n + 1]), y[n : n + 1])
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        squares.append(sum(float((p.detach() * g).sum()) for p, g in zip(model.parameters(), slopes, strict=True)) ** 2)
    empirical = records["fisher_rao"].details["variants"]["empirical_squared"]
    assert empirical == pytest.approx(sum(squares) / 6, rel=1e-8)
