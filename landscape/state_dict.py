"""Named tensors: where they are in what a file held, and under which names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from landscape.errors import CheckpointError, NonFiniteError, near

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "module")
WRAPPER_PREFIXES = ("module.", "_orig_mod.")

_NAMES_SHOWN = 5
_DEPTH = 4
_WAYS = 10_000


def find_state_dict(payload: Mapping[Any, Any], key: str | None, path: Path) -> Mapping[str, Tensor]:
    """Find the named tensors in what the file `path` held.

    With `key`, a dotted path, they are there, or they are those whose names begin with it, shortened by it. Without it
    they are `payload` itself if that maps names to tensors only, else the one dict of tensors that is nested under
    `STATE_DICT_KEYS` alone (also one in another).

    Raises:
        CheckpointError: there are none, several, or none under `key`; the candidates are listed.
    """
    places = {way: found for way, found in _mappings(payload) if _is_state_dict(found)}
    listed = [".".join(way) for way in places if way]
    if key is not None:
        way = (key,) if key in payload else tuple(key.split("."))
        begun = None if way in places else _begun_by(places, key)
        return begun or _at_key(payload, key, path, listed)
    if () in places:
        return places[()]
    usual = [way for way in places if all(name in STATE_DICT_KEYS for name in way)]
    if len(usual) == 1:
        return places[usual[0]]
    if usual:
        raise CheckpointError(
            f"{path} holds several state dicts: {few('.'.join(way) for way in usual)}. Choose one with --key."
        )
    if places:
        raise CheckpointError(
            f"{path}: expected a state dict under {', '.join(STATE_DICT_KEYS)}, got tensors under {few(listed)}. "
            "Choose one with --key."
        )
    for way, found in {id(found): (way, found) for way, found in _mappings(payload)}.values():
        others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
        if len(others) < len(found):
            raise CheckpointError(
                f"{path}: {'.'.join(way) or 'the top level'} mixes {len(found) - len(others)} tensors "
                f"with other values ({few(others)}); save the network's state_dict() alone."
            )
    raise CheckpointError(
        f"{path}: expected named tensors, got none (its keys: {few(map(str, payload)) or 'none'}); "
        "save the network's state_dict()."
    )


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the `WRAPPER_PREFIXES`, repeated and in any order, as far as all names carry them."""
    prefix = ""
    while longer := next((p for p in WRAPPER_PREFIXES if all(n.startswith(prefix + p) for n in tensors)), ""):
        prefix += longer
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def check_dense(tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse tensors that carry no dense numbers of their own: sparse, quantized, nested and meta ones.

    Raises:
        CheckpointError: names the tensors.
    """
    bad = [n for n, t in tensors.items() if t.layout != torch.strided or t.is_quantized or t.is_meta or t.is_nested]
    if bad:
        raise CheckpointError(
            f"{source}: expected dense tensors, got sparse, quantized, nested or meta ones: {few(bad)}; "
            "save them dense and dequantized."
        )


def check_finite(tensors: Mapping[str, Tensor], source: Path | str = "the checkpoint") -> None:
    """Refuse NaN and infinite weights and buffers.

    Raises:
        NonFiniteError: names the tensors.
    """
    bad = [f"{name} ({count} of {tensors[name].numel()})" for name in tensors if (count := _non_finite(tensors[name]))]
    if bad:
        raise NonFiniteError(
            f"{source}: expected finite weights, got NaN or infinity in {few(bad)}. "
            "The training diverged; use an earlier checkpoint."
        )


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def few(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _NAMES_SHOWN} more" if len(listed) > _NAMES_SHOWN else ""
    return ", ".join(listed[:_NAMES_SHOWN]) + more


def _is_state_dict(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(inner, Tensor) for name, inner in value.items())
    )


def _mappings(value: Any) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every dict in `value` that is reached by names, outermost first, with the way to it.

    The first `_WAYS` of them: a dict may be in itself, and in many others many times.
    """
    return islice(_every_mapping(value, ()), _WAYS)


def _every_mapping(value: Any, way: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    if not isinstance(value, Mapping):
        return
    yield way, value
    for name, inner in value.items() if len(way) < _DEPTH else ():
        if isinstance(name, str):
            yield from _every_mapping(inner, (*way, name))


def _begun_by(places: Mapping[tuple[str, ...], Mapping[str, Tensor]], key: str) -> Mapping[str, Tensor] | None:
    """The tensors whose names begin with `key`: in the usual place, or in the place that `key` itself begins with."""
    found = []
    for way, tensors in places.items():
        start = "".join(f"{name}." for name in way)
        usual = key if all(name in STATE_DICT_KEYS for name in way) else None
        beginnings = {usual, key.removeprefix(start) if start and key.startswith(start) else None} - {None}
        found += [part for beginning in beginnings if (part := under(tensors, f"{beginning}."))]
    return found[0] if len(found) == 1 else None


def _at_key(payload: Mapping[Any, Any], key: str, path: Path, listed: list[str]) -> Mapping[str, Tensor]:
    found: Any = payload
    for name in (key,) if key in payload else key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            known = near(key, listed) if listed else " No state dict is nested in it: leave --key out."
            raise CheckpointError(f"{path} has no key {key!r}.{known}")
        found = found[name]
    if _is_state_dict(found):
        return found
    got = f"a {type(found).__name__}"
    if isinstance(found, Mapping):
        got = f"a dict with {few(str(n) for n, v in found.items() if not isinstance(v, Tensor)) or 'nothing in it'}"
    raise CheckpointError(
        f"{path}: expected named tensors under {key!r}, got {got}.{near(key, listed) if listed else ''}"
    )


def _non_finite(tensor: Tensor) -> int:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    # isfinite is not defined for the eight-bit floats.
    values = tensor.float() if tensor.element_size() == 1 else tensor
    return values.numel() - int(torch.isfinite(values).sum())
