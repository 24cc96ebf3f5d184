"""What layers do to the labels of channels: they take in those of their input and give new ones to their output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.problem.batch_norm import NormCall
from landscape.reparameterisation.following import Call, Entry, Follow, Rule, Statistics, along, channels


def _weighted(follow: Follow, call: Call, x: Any, weight: Any, bias: Any, axis: int, groups: int) -> Any:
    """A layer whose weight is (outputs, inputs / groups, ...) and whose channels lie along `axis` of the input."""
    name = follow.name(weight)
    taken = channels(follow, x, axis, call.name)
    if taken is not None:
        if name is None:
            follow.labels.fix(taken, "a weight that is computed")
        else:
            follow.entries.append(Entry(name, taken, 1, -1, groups))
    names = [follow.name(part) for part in (weight, bias) if part is not None]
    return follow.make(call.result, axis, len(weight), names)


def _linear(follow: Follow, call: Call) -> Any:
    x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
    return None if weight.ndim != 2 else _weighted(follow, call, x, weight, bias, -1, 1)


def _convolution(follow: Follow, call: Call) -> Any:
    x, weight, bias = (call.argument(i, name) for i, name in enumerate(("input", "weight", "bias")))
    return _weighted(follow, call, x, weight, bias, x.ndim - weight.ndim + 1, call.argument(6, "groups", 1))


def _embedding(follow: Follow, call: Call) -> Any:
    weight = call.argument(1, "weight")
    name = follow.name(weight)
    if name is None or call.argument(3, "max_norm") is not None:
        return ()
    fresh = follow.labels.new(weight.shape[1])
    follow.entries.append(Entry(name, fresh, 1, 1))
    return along(fresh, -1, call.result)


def _affine(follow: Follow, call: Call, axis: int, weight: Any, bias: Any) -> Any:
    """Multiplied by `weight` and shifted by `bias` along `axis`; without them, or where they are computed, fixed."""
    parts = [part for part in (weight, bias) if part is not None]
    if weight is None or any(part.ndim != 1 for part in parts):
        return ()
    return follow.make(call.result, axis, len(weight), [follow.name(part) for part in parts])


def _batch_norm(follow: Follow, call: Call) -> Any:
    norm = NormCall.of(*call.args, **call.given)
    mean, var = follow.name(norm.mean), follow.name(norm.var)
    taken = channels(follow, norm.x, 1, call.name)
    if taken is not None:
        if norm.training or mean is None or var is None:
            follow.labels.fix(taken, call.name)
        else:
            follow.statistics.append(Statistics(mean, var, taken, norm.eps))
    return _affine(follow, call, 1, norm.gamma, norm.beta)


def _normalised(axis: int, weight: int, bias: int | None) -> Rule:
    """A normalisation over several channels, of arguments `weight` and `bias`: what goes in is fixed."""

    def rule(follow: Follow, call: Call) -> Any:
        follow.fix(call.argument(0, "input"), call.name)
        shift = None if bias is None else call.argument(bias, "bias")
        return _affine(follow, call, axis, call.argument(weight, "weight"), shift)

    return rule


LAYERS: Mapping[str, Rule] = {
    "linear": _linear,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "layer_norm": _normalised(-1, 2, 3),
    "rms_norm": _normalised(-1, 2, None),
    "group_norm": _normalised(1, 2, 3),
    "instance_norm": _normalised(1, 3, 4),
}
"""Functions with parameters, by the name that PyTorch gives them."""
