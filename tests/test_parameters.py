"""Roles, layers and patterns; named tensors and one flat vector."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.errors import OptionError
from landscape.parameters import ROLES, describe, flatten, group_parameters, sum_groups, unflatten


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.embedding = nn.Embedding(4, 2)
        self.conv = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ConvTranspose1d(1, 2, 1, bias=False))
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(2), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2, affine=True), nn.RMSNorm(2)]
        )
        self.linear, self.bilinear = nn.Linear(2, 2), nn.Bilinear(2, 2, 1)
        self.recurrent, self.attention = nn.GRU(2, 2), nn.MultiheadAttention(2, 1)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.tied = nn.Linear(2, 4, bias=False)
        self.tied.weight = self.embedding.weight


def test_every_parameter_has_a_role_and_a_layer_in_the_order_of_the_model() -> None:
    model = Everything()
    infos = describe(model)
    assert [i.name for i in infos] == [n for n, p in model.named_parameters() if p.requires_grad]
    roles = {i.name: i.role for i in infos}
    assert set(roles.values()) <= set(ROLES)
    expected = {
        "scale": "other",
        "embedding.weight": "embedding.weight",
        "conv.0.weight": "conv.weight",
        "conv.0.bias": "conv.bias",
        "conv.1.weight": "conv.weight",
        **{f"norms.{i}.weight": "norm.gamma" for i in range(5)},
        **{f"norms.{i}.bias": "norm.beta" for i in range(4)},
        "linear.weight": "linear.weight",
        "linear.bias": "linear.bias",
        "bilinear.weight": "linear.weight",
        "recurrent.weight_ih_l0": "other",
        "attention.in_proj_weight": "other",
        "attention.out_proj.weight": "linear.weight",
    }
    assert expected.items() <= roles.items()
    assert "tied.weight" not in roles
    layers = {i.name: i.layer for i in infos}
    assert (layers["scale"], layers["conv.0.bias"], layers["linear.weight"]) == ("scale", "conv.0", "linear")
    assert {i.name: i.size for i in infos}["embedding.weight"] == 8


def test_groups_partition_the_parameters() -> None:
    infos = describe(Everything())
    names = sorted(i.name for i in infos)
    for by in ("role", "layer", "tensor", "*.weight", "norms.*,*.bias,*"):
        groups = group_parameters(infos, by)
        assert sorted(name for members in groups.values() for name in members) == names, by
    assert list(group_parameters(infos, "role")) == [r for r in ROLES if r in {i.role for i in infos}]
    by_pattern = group_parameters(infos, " norms.0.* , *.bias")
    assert by_pattern["norms.0.*"] == ("norms.0.weight", "norms.0.bias")
    assert "norms.0.bias" not in by_pattern["*.bias"]  # the first pattern that matches has it
    assert list(by_pattern) == ["norms.0.*", "*.bias", "other"]
    assert group_parameters(infos, "scale")["scale"] == ("scale",)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("layr", "'layr' is neither role, layer or tensor .* Did you mean layer"),
        ("linear.weigth", "'linear.weigth' .* Did you mean .*linear.weight"),
        ("conv.*,fc.*", r"'fc\.\*'"),
        ("", "''"),
        (" , ", "neither role, layer or tensor"),
        ("Linear.*", r"'Linear\.\*'"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(by: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        group_parameters(describe(Everything()), by)


def test_flattening_and_back() -> None:
    """The trap: frozen parameters that shift what follows them."""
    named = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(7.0), "c": torch.arange(4.0).view(2, 2).T}
    vector = flatten(named)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 0, 2, 1, 3]
    again = unflatten(vector, named)
    assert list(again) == list(named)
    assert all(torch.equal(again[name], tensor) for name, tensor in named.items())


def test_sums_over_groups() -> None:
    assert sum_groups({"a": 1.0, "b": 2.0, "c": 4.0}, {"x": ("a", "c"), "y": ("b",)}) == {"x": 5.0, "y": 2.0}
