"""Which parameters make a substructure, and named tensors as one flat vector.

A *substructure* is a set of parameters: a role (conv.weight, norm.gamma, ...), a layer, one tensor, or whatever a
user's name patterns select.

Legend: P number of parameters (scalars), k columns.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape.errors import OptionError

ROLES = (
    "conv.weight",
    "conv.bias",
    "norm.gamma",
    "norm.beta",
    "linear.weight",
    "linear.bias",
    "embedding.weight",
    "other",
)

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_LINEARS = (nn.Linear, nn.Bilinear)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True)
class ParameterInfo:
    """What is known of one parameter: its name, role, the layer that owns it and its shape."""

    name: str
    role: str
    layer: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of scalars."""
        return int(torch.Size(self.shape).numel())


def describe(model: nn.Module) -> tuple[ParameterInfo, ...]:
    """Describe the parameters of `model` that require a gradient, in the order of `named_parameters`.

    A tied parameter appears once, under the name and the role of its first owner.
    """
    seen: set[int] = set()
    infos = []
    for layer, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            name = f"{layer}.{leaf}" if layer else leaf
            infos.append(ParameterInfo(name, _role(module, leaf), layer or leaf, tuple(parameter.shape)))
    order = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    return tuple(sorted(infos, key=lambda info: order[info.name]))


def _role(module: nn.Module, leaf: str) -> str:
    if isinstance(module, _NORMS):
        return {"weight": "norm.gamma", "bias": "norm.beta"}.get(leaf, "other")
    for kinds, family in ((_CONVOLUTIONS, "conv"), (_LINEARS, "linear"), (_EMBEDDINGS, "embedding")):
        if isinstance(module, kinds):
            role = f"{family}.{leaf}"
            return role if role in ROLES else "other"
    return "other"


def group_parameters(infos: Sequence[ParameterInfo], by: str) -> dict[str, tuple[str, ...]]:
    """Partition parameter names into substructures.

    Args:
        infos: the parameters.
        by: `role`, `layer`, `tensor`, or comma-separated shell patterns of names such as
            `layer1.*,*.bias`; a parameter belongs to the first pattern that matches, the rest make `other`.

    Returns:
        Group name -> parameter names; every parameter is in exactly one group, roles in the order of `ROLES`.

    Raises:
        OptionError: a pattern matches no parameter.
    """
    groups: dict[str, list[str]] = {}
    if by in ("role", "layer", "tensor"):
        for info in infos:
            key = {"role": info.role, "layer": info.layer, "tensor": info.name}[by]
            groups.setdefault(key, []).append(info.name)
        order = sorted(groups, key=ROLES.index) if by == "role" else list(groups)
        return {key: tuple(groups[key]) for key in order}
    patterns = [pattern.strip() for pattern in by.split(",") if pattern.strip()]
    matched = {p: {i.name for i in infos if fnmatch.fnmatchcase(i.name, p)} for p in patterns}
    empty = next((p for p in patterns if not matched[p]), None)
    if not patterns or empty is not None:
        what = repr(empty) if empty is not None else repr(by)
        raise OptionError(
            f"--by {what} is neither role, layer or tensor nor a pattern that matches a parameter name."
            f"{_near_name(empty or by, infos)}"
        )
    for info in infos:
        key = next((p for p in patterns if info.name in matched[p]), "other")
        groups.setdefault(key, []).append(info.name)
    shadowed = next((p for p in patterns if p not in groups), None)
    if shadowed is not None:
        raise OptionError(f"--by: all that {shadowed!r} matches belongs to a pattern before it; put it first.")
    return {key: tuple(groups[key]) for key in (*patterns, "other") if key in groups}


def _near_name(pattern: str, infos: Sequence[ParameterInfo]) -> str:
    known = ["role", "layer", "tensor", *(info.name for info in infos)]
    close = difflib.get_close_matches(pattern, known, n=3)
    return f" Did you mean {', '.join(close)}?" if close else f" A parameter of this network: {infos[0].name}."


def flatten(named: Mapping[str, Tensor]) -> Tensor:
    """Join named tensors into one vector (P,), in the mapping's order."""
    return torch.cat([tensor.reshape(-1) for tensor in named.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut a vector (P,) into tensors of the names and shapes of `like`; the inverse of `flatten`."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {name: piece.view(tensor.shape) for (name, tensor), piece in zip(like.items(), pieces, strict=True)}


def sum_groups(per_tensor: Mapping[str, float], groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Add an additive quantity, known by tensor, over each group."""
    return {group: float(sum(per_tensor[name] for name in names)) for group, names in groups.items()}


def group_positions(infos: Sequence[ParameterInfo], groups: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """Where in the flat vector (P,) the parameters of each group are, int64."""
    spans: dict[str, tuple[int, int]] = {}
    start = 0
    for info in infos:
        spans[info.name] = start, start + info.size
        start += info.size
    return {
        group: torch.cat([torch.arange(*spans[name]) for name in names] or [torch.empty(0, dtype=torch.int64)])
        for group, names in groups.items()
    }
