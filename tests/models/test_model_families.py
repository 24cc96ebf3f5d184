"""The contract that every registered network keeps, and the published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.errors import ModelError
from landscape.models import MODELS, build_model, parse_model

# Light versions of every family, so that the whole table runs in seconds.
_LIGHT = {name: f"{name}:width=8" if name == "mlp" else f"{name}:width=0.125" for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("channels", "classes", "larger"), [(1, 7, 0), (3, 10, 5)])
def test_contract(name: str, channels: int, classes: int, larger: int) -> None:
    size = MODELS[name].minimum_size + larger
    spec = parse_model(_LIGHT[name])
    before = torch.get_rng_state()
    model = build_model(spec, classes=classes, channels=channels, size=size, seed=3)
    twin = build_model(spec, classes=classes, channels=channels, size=size, seed=3)
    other = build_model(spec, classes=classes, channels=channels, size=size, seed=4)
    assert torch.equal(torch.get_rng_state(), before)

    first, second, third = (torch.cat([p.flatten() for p in m.parameters()]) for m in (model, twin, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not any(getattr(m, "inplace", False) for m in model.modules())

    images = torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))
    logits = model.eval()(images)
    assert logits.shape == (4, classes)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("text", "published"),
    [
        # He et al. 2016, table 6, in millions: 0.27, 0.46, 0.66, 0.85, 1.7.
        ("resnet20", 0.27e6),
        ("resnet32", 0.46e6),
        ("resnet44", 0.66e6),
        ("resnet56", 0.85e6),
        ("resnet110", 1.7e6),
    ],
)
def test_parameter_counts_of_the_paper(text: str, published: float) -> None:
    count = sum(p.numel() for p in build_model(parse_model(text), classes=10, channels=3).parameters())
    assert f"{count / 1e6:.2g}" == f"{published / 1e6:.2g}"


# The classifier of the ImageNet form: 25088 -> 4096 -> 4096 -> 1000, with biases.
_VGG_CLASSIFIER = 25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000


@pytest.mark.parametrize(
    ("name", "published", "replaced", "by"),
    [
        # Parameters of the ImageNet forms as torchvision's documentation states them.
        ("vgg11", 132_863_336, _VGG_CLASSIFIER, 5130),
        ("vgg11-bn", 132_868_840, _VGG_CLASSIFIER, 5130),
        ("vgg13", 133_047_848, _VGG_CLASSIFIER, 5130),
        ("vgg13-bn", 133_053_736, _VGG_CLASSIFIER, 5130),
        ("vgg16", 138_357_544, _VGG_CLASSIFIER, 5130),
        ("vgg16-bn", 138_365_992, _VGG_CLASSIFIER, 5130),
        ("vgg19", 143_667_240, _VGG_CLASSIFIER, 5130),
        ("vgg19-bn", 143_678_248, _VGG_CLASSIFIER, 5130),
        # The CIFAR form replaces the 7x7 stem and the classifier of 1000.
        ("resnet18", 11_689_512, 64 * 3 * 49 + 513_000, 64 * 3 * 9 + 5130),
        ("resnet34", 21_797_672, 64 * 3 * 49 + 513_000, 64 * 3 * 9 + 5130),
    ],
)
def test_parameter_counts_of_the_imagenet_forms(name: str, published: int, replaced: int, by: int) -> None:
    model = build_model(parse_model(name), classes=10, channels=3, size=32)
    assert sum(p.numel() for p in model.parameters()) == published - replaced + by


@pytest.mark.parametrize(
    ("name", "convolutions"),
    # Where torchvision's vgg11 and vgg11_bn have their convolutions, so that public checkpoints load.
    [("vgg11", [0, 3, 6, 8, 11, 13, 16, 18]), ("vgg11-bn", [0, 4, 8, 11, 15, 18, 22, 25])],
)
def test_vgg_tensor_names_are_the_common_ones(name: str, convolutions: list[int]) -> None:
    own = build_model(parse_model(f"{name}:width=0.125"), classes=10, channels=3, size=32).state_dict()
    assert [n for n, t in own.items() if t.ndim == 4] == [f"features.{i}.weight" for i in convolutions]
    assert {"features.0.bias", "classifier.weight", "classifier.bias"} <= own.keys()


def test_width_is_a_factor_on_channels_and_units_in_an_mlp() -> None:
    wide = build_model(parse_model("resnet20:width=2.5"), classes=10, channels=3)
    assert wide.get_parameter("conv1.weight").shape == (40, 3, 3, 3)
    assert wide.get_parameter("linear.weight").shape == (10, 160)
    mlp = build_model(parse_model("mlp:width=5,depth=3"), classes=2, channels=1, size=4)
    assert [tuple(p.shape) for p in mlp.parameters()] == [(5, 16), (5,), (5, 5), (5,), (2, 5), (2,)]


def test_mlp_is_the_formula() -> None:
    model = build_model(parse_model("mlp:width=6,depth=3,activation=tanh"), classes=3, channels=2, size=4, seed=1)
    x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    w1, b1, w2, b2, w3, b3 = model.parameters()
    expected = torch.tanh(torch.tanh(x.reshape(5, 32) @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_bias_free_linear_mlp_is_one_matrix(depth: int) -> None:
    model = build_model(
        parse_model(f"mlp:bias=false,activation=linear,depth={depth},width=9"), classes=3, channels=1, size=3
    )
    product = torch.eye(9)
    for weight in model.parameters():
        product = weight @ product
    x = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), x.flatten(1) @ product.T)


@pytest.mark.parametrize("name", ["resnet20", "vgg16", "mlp:depth=8,width=256"])
def test_initial_weights_keep_the_variance(name: str) -> None:
    """He et al. 2015, eq. 10: with variance 2/n the mean square before each ReLU neither explodes nor dies."""
    model = build_model(parse_model(name), classes=10, channels=3, size=32, seed=0).eval()
    squares: list[float] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            fan_in = module.weight[0].numel()
            deviation = float(module.weight.detach().std()) * (fan_in / 2) ** 0.5
            # The relative standard error of a deviation of n normal draws is (2 n)^-1/2.
            assert abs(deviation - 1) < 5 / (2 * module.weight.numel()) ** 0.5
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _m, _i, out: squares.append(float(out.detach().square().mean())))
    if name.startswith("mlp"):
        model(torch.randn(256, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        # 2 before the classifier's factor 1: unit inputs, gain^2 = 2 in the first layer, then 2 * 1/2 in each.
        assert all(1.0 < square < 3.5 for square in squares[:-1])


@pytest.mark.parametrize(
    ("text", "data", "said"),
    [
        ("resnet20:classes=100", {"classes": 10, "channels": 3}, "classes=100, but the data has 10"),
        ("resnet20:channels=1", {"classes": 10, "channels": 3}, "channels=1, but the data has 3"),
        ("mlp:size=28", {"classes": 10, "channels": 1, "size": 8}, "size=28, but the data has 8"),
        ("resnet20", {"channels": 3}, "classes is open"),
        ("mlp", {"classes": 2, "channels": 1}, "size is open"),
        ("vgg11", {"classes": 10, "channels": 1, "size": 8}, "32x32 pixels or more, got 8x8"),
    ],
)
def test_spec_and_data_must_agree(text: str, data: dict[str, int], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build_model(parse_model(text), **data)
