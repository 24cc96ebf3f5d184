"""The gradients at the logits that the Kronecker factors of a batch start from, drawn sample by sample.

    fisher           p - e_y, y drawn from p = softmax(logits)        E[s s'] = diag(p) - p p'
    gauss-newton     z, a unit Gaussian vector                        E[s s'] = I

What a sample draws depends on a seed and its place among all samples, not on the part or the process that holds it.

Legend: b samples of a part, K logits.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softmax

Kind = Literal["fisher", "gauss-newton"]

CHUNK = 1024


class Noise:
    """The random numbers of `of` samples in all: exponential for `fisher`, Gaussian for `gauss-newton`."""

    def __init__(self, kind: Kind, seed: int, of: int) -> None:
        self._kind, self._seed, self._of = kind, seed, of
        self._chunk: tuple[int, Tensor] | None = None

    def rows(self, first: int, like_bK: Tensor) -> Tensor:
        """Those of the samples from `first` on, shaped like `like_bK`. Cost: at most 1024 samples' more than asked."""
        last = first + len(like_bK)
        parts = []
        for number in range(first // CHUNK, -(-last // CHUNK)):
            start = number * CHUNK
            parts.append(self._numbered(number, like_bK)[max(first - start, 0) : last - start])
        return torch.cat(parts)

    def _numbered(self, number: int, like_bK: Tensor) -> Tensor:
        if self._chunk is None or self._chunk[0] != number:
            generator = torch.Generator(like_bK.device).manual_seed(self._seed + number)
            rows = min(CHUNK, self._of - number * CHUNK)
            chunk = torch.empty(rows, like_bK.shape[1], dtype=like_bK.dtype, device=like_bK.device)
            draw = chunk.exponential_ if self._kind == "fisher" else chunk.normal_
            self._chunk = (number, draw(generator=generator))
        return self._chunk[1]


def cotangents(logits_bK: Tensor, kind: Kind, noise_bK: Tensor) -> Tensor:
    """The gradient of each sample's own loss at its logits: (b, K)."""
    if kind == "gauss-newton":
        return noise_bK
    p_bK = softmax(logits_bK, 1)
    # The first of K exponential clocks with rates p rings with probability p. Not torch.multinomial, which fails on NaN
    # before the loop can say that training diverged; not one_hot, which looks at the labels and waits for the device.
    labels_b1 = (p_bK / noise_bK).argmax(1, keepdim=True)
    return p_bK - torch.zeros_like(p_bK).scatter_(1, labels_b1, 1.0)
