"""Residual networks without batch normalisation: what is left in them, and how they start."""

import torch
from torch import nn

from landscape.models import build_model, parse_model


def built(text):
    return build_model(parse_model(text), classes=10, channels=3, size=8)


def test_no_normalisation_is_left_and_every_convolution_has_a_bias():
    network = built("resnet8:width=0.25,bn=false,shortcut=projection")
    kinds = [type(module) for module in network.modules()]
    assert nn.BatchNorm2d not in kinds
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 9  # the stem, three blocks of two, two projections
    assert all(torch.equal(conv.bias, torch.zeros(conv.out_channels)) for conv in convolutions)


def test_its_logits_do_not_grow_with_depth():
    inputs = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = build_model(parse_model("resnet32:width=2,bn=false"), classes=10, channels=3, size=32)
    with torch.no_grad():
        assert 0.05 < float(network(inputs).std()) < 5


def test_the_default_is_the_network_with_batch_normalisation():
    one, two = built("resnet8:width=0.25"), built("resnet8:width=0.25,bn=true")
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert "bn1.weight" in one.state_dict()
