"""How a network's outputs and a batch's labels are read, before any loss or measure sees them.

Losses and measures take what torch's own losses take: outputs (N, K) or (N, K, T) beside labels (N,) or (N, T). A
network may hand over something else: a dict or an object that holds `logits`, logits (N, T, K), a tuple; and labels may
be for the outputs of the place before. A *reading* says once what is what; all that comes after is then the same as for
a network that gives a tensor.

Legend: N samples, K classes, T places of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ModelError, OptionError, ProblemError, near

TORCH_LOSSES = (nn.modules.loss._Loss,)


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Reading:
    """What the loss is given of what the network and the data give.

    Attributes:
        name: for people.
        outputs: the network's outputs -> the outputs that the loss takes; differentiable, sample by sample.
        labels: the labels of a batch -> those that the loss takes.
    """

    name: str
    outputs: Callable[[Any], Any] = _same
    labels: Callable[[Any], Any] = _same


def _field(outputs: Any, name: str) -> Any:
    if isinstance(outputs, Mapping):
        if name in outputs:
            return outputs[name]
        there = ", ".join(map(str, outputs))
    else:
        found = getattr(outputs, name, None)
        if found is not None:
            return found
        there = type(outputs).__name__
    raise ModelError(f"the network's outputs have no {name!r} (they are: {there}); give a landscape.Reading of yours.")


def _logits(outputs: Any) -> Any:
    logits = _field(outputs, "logits")
    # of a sequence they are (N, T, K); those of an image, (N, K, H, W), have the classes where torch's losses want them
    return logits.mT if isinstance(logits, Tensor) and logits.ndim == 3 else logits


def _first(outputs: Any) -> Any:
    if isinstance(outputs, (tuple, list)) and outputs:
        return outputs[0]
    raise ModelError(f"the network's outputs are a {type(outputs).__name__}, not a tuple; choose another reading.")


def _all_but_the_last(outputs: Any) -> Any:
    logits = outputs if isinstance(outputs, Tensor) else _field(outputs, "logits")
    if not isinstance(logits, Tensor) or logits.ndim != 3:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"the reading next-token takes logits (N, T, K), got {shape}.")
    return logits[:, :-1].mT


def _all_but_the_first(labels: Any) -> Any:
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.shape[1] < 2:
        shape = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ProblemError(f"the reading next-token takes labels (N, T) of at least two places, got {shape}.")
    return labels[:, 1:]


PLAIN = Reading("plain")
LOGITS = Reading("logits", outputs=_logits)

READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        reading.name: reading
        for reading in (
            PLAIN,
            LOGITS,
            Reading("next-token", outputs=_all_but_the_last, labels=_all_but_the_first),
            Reading("first", outputs=_first),
        )
    }
)
"""The readings by name.

    plain       outputs and labels as they are
    logits      the outputs' `logits`; those of a sequence, (N, T, K), turned to (N, K, T)
    next-token  the logits (N, T, K) of a causal language model, those of place t beside the label of place t + 1
    first       the first of a tuple of outputs
"""


def find_reading(reading: str | Reading | None) -> Reading | None:
    """The reading that was asked for; None where it is left to `choose_reading`.

    Raises:
        OptionError: the name is unknown; near ones are offered.
    """
    if reading is None or isinstance(reading, Reading):
        return reading
    if reading not in READINGS:
        raise OptionError(f"unknown reading {reading!r}.{near(str(reading), READINGS)} Or give a landscape.Reading.")
    return READINGS[reading]


def choose_reading(loss: Any, outputs: Any) -> Reading:
    """`logits` where one of torch's losses meets outputs that are a mapping with `logits`, else `plain`.

    A loss of the user's own gets the outputs as they are.
    """
    of_torch = loss is nn.functional.cross_entropy or isinstance(loss, TORCH_LOSSES)
    return LOGITS if of_torch and isinstance(outputs, Mapping) and "logits" in outputs else PLAIN


def refuse_copied_tokens(inputs: Any, labels: Any, ignored: int | None) -> None:
    """Refuse labels that are the tokens themselves: a causal language model is not asked to repeat its input.

    Raises:
        ProblemError: every label that counts is the token of its own place.
    """
    tokens = inputs.get("input_ids") if isinstance(inputs, dict) else None
    if not isinstance(tokens, Tensor) or not isinstance(labels, Tensor) or tokens.shape != labels.shape:
        return
    kept = labels != ignored if ignored is not None else torch.ones_like(labels, dtype=torch.bool)
    if bool(kept.any()) and torch.equal(labels[kept], tokens[kept].to(labels)):
        raise ProblemError(
            "the labels are the input_ids themselves; for a causal language model give reading='next-token', which "
            "compares each place with the token after it (or reading='logits' if it is to repeat its input)."
        )
