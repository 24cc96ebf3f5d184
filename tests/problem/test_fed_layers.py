"""Which layers feed a normalisation, every trap that must not be taken for one, and that scaling them says nothing."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from landscape.models import build_model, parse_model
from landscape.problem.fed_layers import fed_layers, filter_norms, rescale, weight_norms
from landscape.training.ghost_norm import GhostNorms, batch_norms


class Doubled(torch.autograd.Function):
    """A function of its own, which no function mode sees."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


class Net(nn.Module):
    """A convolution, a normalisation, a linear head; `way` says how they are joined."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(2, 4, 3, padding=1, groups=2 if way == "groups" else 1, bias=way != "no bias")
        self.norm = nn.BatchNorm2d(4, affine=way != "not affine", track_running_stats=way != "no statistics")
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        if way == "frozen":
            self.conv.weight.requires_grad_(False)
        if way == "weight norm":
            nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x):
        y = self.conv(x)
        if self.way == "something between":
            y = functional.relu(y)
        z = self.norm(y)
        match self.way:
            case "used twice":
                z = z + y
            case "used by a function of its own":
                z = z + Doubled.apply(y)
            case "normalised twice":
                z = self.norm(self.again(torch.tanh(z)))
            case "convolved twice":
                z = self.norm(torch.tanh(self.conv(z[:, :2])))
            case "weight used elsewhere":
                z = z * self.conv.weight.square().mean()
            case "statistics used elsewhere":
                z = z + self.norm.running_var.view(-1, 1, 1)
            case "used in training only":
                z = z + Doubled.apply(y) if self.training else z
        return self.head(torch.tanh(z).mean((2, 3)))


TAKEN = ("plain", "groups", "no bias", "not affine")
LEFT = (
    "used twice", "used by a function of its own", "normalised twice", "convolved twice", "weight used elsewhere",
    "statistics used elsewhere", "used in training only", "something between", "no statistics", "frozen", "weight norm",
)  # fmt: skip


def build(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter)
        for norm in batch_norms(model):
            if norm.running_mean is not None:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    return model


def images(number=6, channels=2, side=8):
    return torch.randn(number, channels, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def names(model, inputs):
    return [layer.name for layer in fed_layers(model, inputs)]


@pytest.mark.parametrize("way", TAKEN)
def test_a_convolution_before_a_normalisation_is_taken(way):
    assert names(build(lambda: Net(way)), images()) == ["conv.weight"]


@pytest.mark.parametrize("way", LEFT)
def test_what_would_change_the_function_is_left(way):
    model = build(lambda: Net(way))
    assert names(model, images()) == []


def test_a_left_layer_leaves_the_others():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Net("used by a function of its own"), Net("plain")

        def forward(self, x):
            return self.first(x) + self.second(x)

    assert names(build(Two), images()) == ["second.conv.weight"]


@pytest.mark.parametrize(("shape", "taken"), [((5, 7), True), ((5, 4, 7), False)])
def test_a_linear_layer_is_taken_on_vectors_only(shape, taken):
    # On a sequence the channels of the normalisation are the positions, and not the layer's outputs.
    model = build(lambda: nn.Sequential(nn.Linear(7, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)))
    assert names(model, torch.randn(shape, dtype=torch.float64)) == (["0.weight"] if taken else [])


@pytest.mark.parametrize(("spec", "number"), [("resnet8:width=0.25", 7), ("vgg11-bn:width=0.125", 8), ("mlp", 0)])
def test_the_networks_that_come_with_landscape(spec, number):
    side = 32 if "vgg" in spec else 8
    model = build(lambda: build_model(parse_model(spec), classes=3, channels=2, size=side))
    found = names(model, images(side=side))
    assert len(found) == number
    # Every convolution of these is followed by a normalisation; the classifier never is.
    assert found == [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]


def test_looking_changes_nothing():
    model = build(lambda: nn.Sequential(Net("plain"), nn.Dropout(0.5)))
    model.train()
    model[0].norm.eval()
    before, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    state = torch.get_rng_state()
    eps = model[0].norm.eps
    assert names(model, images()) == ["0.conv.weight"]
    assert torch.equal(state, torch.get_rng_state())
    assert [module.training for module in model.modules()] == flags
    assert model[0].norm.eps == eps
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def outputs(model, x, training):
    """The outputs and, in train mode, the running statistics that the pass leaves, of a copy."""
    model = copy.deepcopy(model).train(training)
    with torch.no_grad():
        return model(x)


@settings(max_examples=20, deadline=None)
@given(
    factors=st.lists(st.floats(0.05, 20), min_size=7, max_size=7),
    by=st.sampled_from(["filter", "layer"]),
    eps=st.sampled_from([1e-30, 1e-5]),
)
def test_the_function_stays_in_both_modes(factors, by, eps):
    model = build(lambda: build_model(parse_model("resnet8:width=0.125"), classes=3, channels=2, size=8))
    for norm in batch_norms(model):
        norm.eps = eps
    layers = fed_layers(model, images())
    before = [outputs(model, images(), training) for training in (False, True)]
    norms = filter_norms(layers) if by == "filter" else list(weight_norms(layers).split(1))
    generator = torch.Generator().manual_seed(2)
    targets = [
        norm * c * (0.5 + torch.rand(norm.shape, generator=generator, dtype=torch.float64))
        for norm, c in zip(norms, factors, strict=True)
    ]
    rescale(layers, norms, targets)
    after = [outputs(model, images(), training) for training in (False, True)]
    # With an eps the variances change by it: by 1e-5 / (0.05^2 var) at most, and as much in the outputs of each layer.
    rtol, atol = (1e-9, 1e-10) if eps < 1e-20 else (0.0, 0.2)
    torch.testing.assert_close(after, before, rtol=rtol, atol=atol)
    for layer, target in zip(layers, targets, strict=True):
        flat = layer.weight.detach().flatten(1) if by == "filter" else layer.weight.detach().flatten().unsqueeze(0)
        torch.testing.assert_close(flat.square().sum(1).sqrt(), target.flatten(), rtol=1e-12, atol=0)


def test_bias_and_statistics_follow_their_filter():
    model = build(lambda: Net("plain"))
    conv, norm = copy.deepcopy(model.conv), copy.deepcopy(model.norm)
    layers = fed_layers(model, images())
    rescale(layers, filter_norms(layers), [torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)])
    for i in range(4):
        c = (i + 1) / float(conv.weight[i].detach().square().sum().sqrt())
        torch.testing.assert_close(model.conv.weight[i], c * conv.weight[i])
        torch.testing.assert_close(model.conv.bias[i], c * conv.bias[i])
        torch.testing.assert_close(model.norm.running_mean[i], c * norm.running_mean[i])
        torch.testing.assert_close(model.norm.running_var[i], c**2 * norm.running_var[i])
    assert torch.equal(model.norm.weight, norm.weight)
    assert torch.equal(model.norm.bias, norm.bias)


def test_a_filter_of_norm_zero_stays_and_kills_none():
    model = build(lambda: Net("plain"))
    with torch.no_grad():
        model.conv.weight[1] = 0
    layers = fed_layers(model, images())
    before = model.conv.weight.detach().clone()
    rescale(layers, filter_norms(layers), [torch.tensor([0.0, 1.0, 2.0, 2.0], dtype=torch.float64)])
    assert torch.equal(model.conv.weight[:2], before[:2])
    assert torch.isfinite(model.norm.running_var).all()


def test_ghost_norms_keep_the_layers_theirs():
    model = build(lambda: Net("plain"))
    layers = fed_layers(model, images())
    ghosts = GhostNorms(model, 3)
    with ghosts.installed():
        model.norm.eps = 1e-30
        before = outputs_of_ghosts(model)
        rescale(layers, filter_norms(layers), [torch.full((4,), 5.0, dtype=torch.float64)])
        torch.testing.assert_close(outputs_of_ghosts(model), before)


def outputs_of_ghosts(model):
    model.train()
    with torch.no_grad():
        return model(images())
