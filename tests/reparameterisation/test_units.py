"""Which units a network has: counted by hand for ours, and every trap that must not be taken for one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import case
from torch import Tensor, nn
from torch.nn import functional

from landscape import Problem
from landscape.errors import OptionError
from landscape.models import build_model, parse_model
from landscape.reparameterisation.choice import choose_units
from landscape.reparameterisation.labels import FREE, Labels
from landscape.reparameterisation.structure import find_structure
from landscape.reparameterisation.variants import rescaled_variant

# Units of kind rho and scale, by hand. Of resnet8: 16 + 32 + 64 within blocks and a stream of 64 channels, of which
# 16 begin in the stem, 16 in the second stage and 32 in the third; projections make a stream of its own in each stage.
COUNTS = {
    "mlp:width=7,depth=3": (14, 0),
    "mlp:width=7,depth=3,bias=false": (14, 0),
    "mlp:width=7,activation=linear": (14, 0),
    "mlp:width=7,activation=tanh": (0, 0),
    "mlp:width=7,activation=gelu": (0, 0),
    "alexnet:width=0.03125": (2 + 6 + 12 + 8 + 8 + 128 + 128, 0),
    "vgg11:width=0.0625": (4 + 8 + 2 * 16 + 4 * 32, 0),
    "vgg11-bn:width=0.0625": (4 + 8 + 2 * 16 + 4 * 32, 4 + 8 + 2 * 16 + 4 * 32),
    "resnet8": (112 + 64, 16 + 2 * 112),
    "resnet8:shortcut=projection": (112 + 112, 16 + 2 * 112 + 32 + 64),
    "resnet8:bn=false": (112 + 64, 0),
    "resnet8:bn=false,shortcut=projection": (112 + 112, 0),
}


def network(text: str) -> Problem:
    size = 32 if text.startswith(("alexnet", "vgg")) else 8
    model = build_model(parse_model(text), classes=10, channels=1, size=size).double()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        trained(model)
        data = torch.randn(6, 1, size, size, dtype=torch.float64), torch.randint(10, (6,))
    return Problem(model, nn.CrossEntropyLoss(), data)


def trained(model: nn.Module) -> None:
    """Normalisations as after a training, so that nothing is 0 or 1 by chance."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)


@pytest.mark.parametrize("text", COUNTS)
def test_our_networks_have_these_units_and_stay_the_same(text: str) -> None:
    """Error budget: products are rounded once; outputs of 10 from sums of some hundred terms keep 1e-12."""
    problem = network(text)
    structure = find_structure(problem)
    assert tuple(len(structure.of_kind(kind)) for kind in ("rho", "scale")) == COUNTS[text]
    if structure.units:
        factors = np.exp(np.random.default_rng(0).normal(size=len(structure.units)))
        variant = rescaled_variant(problem, structure, factors)
        assert variant.change < 1e-12 * max(variant.size, 1)


def test_the_stream_of_a_residual_network_is_scaled_as_one() -> None:
    structure = find_structure(network("resnet8"))
    stem = next(unit for unit in structure.units if unit.name == "bn1:3")
    # Zeros are added before and after: channel 3 is 8 further in the second stage, and 16 more in the third.
    assert stem.places == (("bn1", 3), ("layer1.0.bn2", 3), ("layer2.0.bn2", 11), ("layer3.0.bn2", 27))
    inner = next(unit for unit in structure.units if unit.name == "layer1.0.bn1:3")
    assert inner.layers == ("layer1.0.bn1",)


class Net(nn.Module):
    """A layer, something in between, a layer; `way` says what."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 5)
        self.head = nn.Linear(10 if way in ("cat", "cat of zeros") else 5, 3)
        self.scale = nn.Parameter(torch.rand(5) + 0.5)
        self.norm = nn.LayerNorm(5)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        if self.way == "clamp":
            return self.head(a.clamp(min=0))
        if self.way == "leaky in place":
            return self.head(functional.leaky_relu_(a))
        if self.way == "clamp at 6":
            return self.head(functional.relu6(a))
        h = torch.relu(a)
        match self.way:
            case "scaled":
                h = 2 * h * self.scale / 3
            case "permuted":
                h = h[:, [3, 1, 4, 0, 2]]
            case "cat":
                h = torch.cat([h, torch.relu(self.second(h))], 1)
            case "cat of zeros":
                h = torch.cat([h, torch.zeros_like(h)], 1)
            case "residual":
                h = h + torch.relu(self.second(h))
            case "layer norm":
                h = torch.relu(self.norm(h))
            case "shifted":
                h = h + 1
            case "squared":
                h = h * h
            case "softmax":
                h = h.softmax(1)
            case "tied":
                h = torch.relu(functional.linear(h[:, :4], self.first.weight))
            case "computed":
                h = torch.relu(functional.linear(h, self.second.weight * 2))
            case "hidden":
                h = Hidden.apply(h)
            case "mean of units":
                h = h + h.mean(1, keepdim=True)
            case "to the outside":
                return self.head(h) + h[:, :3]
        return self.head(h)


class Hidden(torch.autograd.Function):
    """A function that no function mode sees, and that is not homogeneous."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x + 1


# Units of the first layer and of any other.
WAYS = {
    "clamp": 5, "leaky in place": 5, "scaled": 5, "permuted": 5, "cat": 10, "cat of zeros": 5, "residual": 5,
    "layer norm": 5, "clamp at 6": 0, "shifted": 0, "squared": 0, "softmax": 0, "tied": 0, "computed": 0, "hidden": 0,
    "mean of units": 1, "to the outside": 2,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_between_two_layers_decides(way: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Net(way).double()
        data = torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    problem = Problem(model, nn.CrossEntropyLoss(), data)
    structure = find_structure(problem)
    assert len(structure.units) == WAYS[way]
    if structure.units:
        factors = np.exp(np.random.default_rng(0).normal(size=len(structure.units)))
        assert rescaled_variant(problem, structure, factors).change < 1e-12
    else:
        assert "first" in structure.left_out
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["recurrent", "attention", "tied", "own_parameter", "sequences"])
def test_networks_without_a_plain_place_are_refused_or_right(name: str) -> None:
    problem = case(name).problem()
    structure = find_structure(problem)
    if structure.units:
        factors = np.exp(np.random.default_rng(0).normal(size=len(structure.units)))
        assert rescaled_variant(problem, structure, factors).change < 1e-12


def test_grouped_convolutions_are_divided_in_their_own_group() -> None:
    problem = case("batch_norm").problem()
    structure = find_structure(problem)
    assert [unit.name for unit in structure.units if unit.kind == "rho"] == [
        *(f"1:{k}" for k in range(4)),
        *(f"4:{k}" for k in range(4)),
    ]
    factors = np.exp(np.random.default_rng(0).normal(size=len(structure.units)))
    assert rescaled_variant(problem, structure, factors).change < 1e-12


def test_units_are_chosen_by_share_number_and_name() -> None:
    structure = find_structure(network("vgg11-bn:width=0.0625"))
    rho = structure.of_kind("rho")
    half = choose_units(structure, "rho", "half", 0)
    assert len(half) == len(rho) // 2 == len(set(half) & set(rho))
    assert half == choose_units(structure, "rho", "half", 0) != choose_units(structure, "rho", "half", 1)
    assert choose_units(structure, "scale", "all", 0) == structure.of_kind("scale")
    assert len(choose_units(structure, "rho", "3", 0)) == 3
    named = choose_units(structure, "rho", "features.1:2,features.5:*", 0)
    assert [structure.units[number].name for number in named] == [
        "features.1:2",
        *(f"features.5:{k}" for k in range(8)),
    ]
    assert choose_units(structure, "scale", "features.1:2", 0) == []


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("0", "a number from 1 on"),
        ("9999", "the network has 172"),
        ("feature.1:2", "features.1"),
        ("features.1:99", "units 0 to 3"),
        ("features.1:x", "a channel from 0 on"),
        ("classifier:0", "the network's output"),
    ],
)
def test_wrong_choices_say_what_there_is(how: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        choose_units(find_structure(network("vgg11-bn:width=0.0625")), "rho", how, 0)


def test_labels_keep_the_reason_and_zeros_go_with_all() -> None:
    labels = Labels()
    a, b = labels.new(3), labels.new(3)
    labels.unite(torch.tensor([FREE, 1, 2]), b, "sum")
    assert labels.find(int(b[0])) != labels.find(int(a[0]))
    labels.unite(a, b, "sum")
    labels.fix(a[:1], "tanh")
    assert labels.why(int(b[0])) == "tanh"
    assert labels.why(int(labels.new(1)[0])) is None
