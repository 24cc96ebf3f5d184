"""Named tensors into a network: every name, shape and kind of number as it must be, or a list of what is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from landscape.errors import CheckpointError
from landscape.state_dict import few, under


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], source: Path | str = "the checkpoint") -> None:
    """Copy `tensors` into the parameters and buffers of `model`.

    Only `num_batches_tracked` (a count of training steps; checkpoints older than torch 0.4.1 have none) may be
    missing, and the other names of a tensor that several modules share. Where the network's names are those of the
    checkpoint's larger part without a common beginning (`model.` of Lightning, `module.` of averaged models), it goes,
    and the rest (the weights of a loss) is left. On a mismatch the model is left as it was.

    Raises:
        CheckpointError: names are missing or unexpected, or shapes or kinds of number differ; lists them. Or several
            networks in it fit, or one that is its smaller part.
    """
    own = model.state_dict(keep_vars=True)
    fit = _Fit(own, tensors)
    if not fit.is_whole:
        fit = _without_beginning(own, tensors, source) or fit
    if not fit.is_whole:
        raise CheckpointError(f"{source} does not fit the network; {fit.complaint()} {fit.remedy(model)}")
    model.load_state_dict({name: fit.tensors[name] for name in fit.common}, strict=False)


def _without_beginning(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path | str) -> _Fit | None:
    """The one part of the tensors that fits or, if none does, that nearly fits."""
    parts = {prefix: _Fit(own, under(tensors, prefix)) for prefix in _beginnings(own, tensors)}
    whole = [prefix for prefix, part in parts.items() if part.is_whole]
    if len(whole) > 1:
        names = few(prefix.removesuffix(".") for prefix in whole)
        raise CheckpointError(f"{source} holds several networks that fit: {names}. Choose one with --key.")
    larger = {prefix: part for prefix, part in parts.items() if 2 * _size(part.tensors) > _size(tensors)}
    if whole and whole[0] not in larger:
        raise CheckpointError(
            f"{source} does not fit the network, but its smaller part {whole[0]!r} does; if that is meant, choose it "
            f"with --key {whole[0].removesuffix('.')}."
        )
    return next(iter(larger.values()), None)


class _Fit:
    """How named tensors fit a network's own, `own`, where tied ones are the same object under several names."""

    def __init__(self, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        self._own, self.tensors = own, tensors
        given = {id(own[name]) for name in own if name in tensors}
        absent = [name for name in own if name not in tensors and id(own[name]) not in given]
        self.missing = [name for name in absent if name.rpartition(".")[2] != "num_batches_tracked"]
        self.unexpected = [name for name in tensors if name not in own]
        self.common = [name for name in own if name in tensors]
        self.misshapen = [name for name in self.common if own[name].shape != tensors[name].shape]
        right = [name for name in self.common if name not in self.misshapen]
        self.unlike = [name for name in right if _kind(own[name]) != _kind(tensors[name])]
        first: dict[int, str] = {}
        self.untied = [n for n in right if not _equal(tensors[first.setdefault(id(own[n]), n)], tensors[n])]

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen or self.unlike or self.untied)

    def complaint(self) -> str:
        own, tensors = self._own, self.tensors
        shapes = [f"{n} (expected {_shape(own[n])}, got {_shape(tensors[n])})" for n in self.misshapen]
        kinds = [f"{n} (expected {_kind(own[n])} numbers, got {_kind(tensors[n])})" for n in self.unlike]
        lists = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "wrongly shaped": shapes,
            "of another kind": kinds,
            "tied in the network, different here": self.untied,
        }
        return "; ".join(f"{what}: {few(names)}" for what, names in lists.items() if names) + "."

    def remedy(self, model: nn.Module) -> str:
        others = self.missing or self.unexpected or self.unlike or self.untied
        hint = None if others else _class_count_hint(model, self.tensors, self.misshapen)
        usual = "Choose the network, its width and its options (--model NAME:key=value) as they were in training."
        return hint or usual


def _beginnings(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """What, put before the network's names, gives at least half of them, in the order of the checkpoint."""
    first = next(iter(own), "")
    found = dict.fromkeys(name.removesuffix(first) for name in tensors if first and name.endswith(f".{first}"))
    return [prefix for prefix in found if 2 * sum(prefix + name in tensors for name in own) >= len(own)]


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _kind(tensor: Tensor) -> str:
    return "complex" if tensor.is_complex() else "real" if tensor.is_floating_point() else "whole"


def _equal(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all()))  # NaN is NaN again


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _class_count_hint(model: nn.Module, tensors: Mapping[str, Tensor], misshapen: list[str]) -> str | None:
    """What to do where only the last layer's first dimension differs, that is, the number of classes."""
    own = model.state_dict()
    last = [name for name, _ in model.named_parameters()][-2:]
    if not set(misshapen) <= set(last) or any(own[n].shape[1:] != tensors[n].shape[1:] for n in misshapen):
        return None
    got, expected = tensors[misshapen[0]].shape[0], own[misshapen[0]].shape[0]
    return f"The checkpoint has {got} classes, the network {expected}: name the data that it was trained on."
