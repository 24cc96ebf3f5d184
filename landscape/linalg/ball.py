"""The set of shifts that a sharpness looks at: {u : ||u||_p <= radius} with p = 2 (a ball) or p = inf (a box).

An ellipsoid or a box with unequal sides is a ball in u where the shift is c ∘ u for its half axes c.

Legend: P size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from landscape.linalg.precision import wide
from landscape.linalg.probes import gaussian, uniform

Norm = Literal[2, "inf"]


@dataclass(frozen=True)
class Ball:
    """{u in R^P : ||u||_p <= radius}."""

    radius: float
    norm: Norm

    def steepest(self, g: Tensor) -> Tensor:
        """argmax of g'u over ||u||_p <= 1: g/||g||_2, or the signs of g; 0 where g is 0."""
        if self.norm == "inf":
            return g.sign()
        length = torch.linalg.vector_norm(g)
        return g / length if bool(length > 0) else torch.zeros_like(g)

    def project(self, u: Tensor) -> Tensor:
        """The nearest point of the set in the Euclidean norm."""
        if self.norm == "inf":
            return u.clamp(-self.radius, self.radius)
        length = torch.linalg.vector_norm(u)
        return u * (self.radius / length) if bool(length > self.radius) else u

    def gap(self, u: Tensor, g: Tensor) -> float:
        """max of g'(v - u) over the set, >= 0: what a linear function with slope g could still gain from u.

        It is 0 where no direction within the set leads up to first order, and an upper bound on what is missing to the
        maximum of a concave function.
        """
        exact = wide(g.device)
        dual = torch.linalg.vector_norm(g, 1 if self.norm == "inf" else 2, dtype=exact)
        return max(0.0, self.radius * float(dual) - float((g * u).sum(dtype=exact)))

    def random(self, size: int, seed: int, *keys: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """A point that depends on the seed and the keys alone: uniform on the sphere, or uniform in the box."""
        if self.norm == "inf":
            return self.radius * uniform(size, seed, *keys, dtype=dtype, device=device)
        return self.radius * self.steepest(gaussian(size, seed, *keys, dtype=dtype, device=device))
