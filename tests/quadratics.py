"""Least squares as a test bed of sharpness: L is a quadratic function of the weights, whose extremes are known.

Nothing here uses the project's own code but to make the problem.

Legend: P parameters, N samples.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import nn

from landscape import Problem


@dataclass(frozen=True)
class Quadratic:
    """L(w + e) - L(w) = g'e + e'A e/2 for the mean of (x'w - y)^2 over the samples."""

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray

    @classmethod
    def of(cls, n: int, size: int, seed: int = 0, *, minimum: bool = False) -> Quadratic:
        """Random samples with unequal curvatures; at the minimum, or near it."""
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, size)) * np.geomspace(1, 0.3, size)
        y = x @ rng.normal(size=size) + 0.3 * rng.normal(size=n)
        best = np.linalg.lstsq(x, y)[0]
        return cls(x, y, best if minimum else best + 0.2 * rng.normal(size=size))

    @property
    def g(self) -> np.ndarray:
        return np.asarray(2 * self.x.T @ (self.x @ self.w - self.y) / len(self.x))

    @property
    def A(self) -> np.ndarray:
        return np.asarray(2 * self.x.T @ self.x / len(self.x))

    @property
    def loss(self) -> float:
        return float(((self.x @ self.w - self.y) ** 2).mean())

    def rise(self, e: np.ndarray) -> float:
        return float(self.g @ e + e @ self.A @ e / 2)

    def part(self, low: int, high: int) -> Quadratic:
        """The same on some of the samples."""
        return Quadratic(self.x[low:high], self.y[low:high], self.w)

    def problem(self, **options: object) -> Problem:
        model = nn.Linear(len(self.w), 1, bias=False).double()
        model.weight.data = torch.from_numpy(self.w)[None].clone()
        data = torch.from_numpy(self.x), torch.from_numpy(self.y)[:, None]
        return Problem(model, nn.MSELoss(), data, **options)  # type: ignore[arg-type]

    def highest_in_ball(self, scale: np.ndarray, rho: float) -> float:
        """max of rise(scale * u) over ||u||_2 <= rho: (mu - B) u = b with mu above the eigenvalues of B, ||u|| = rho.

        b = scale * g, B = scale A scale: the secular equation of a trust region (Conn, Gould and Toint, section 7.2).
        """
        values, vectors = np.linalg.eigh(scale[:, None] * self.A * scale)
        b = vectors.T @ (scale * self.g)

        def excess(mu: float) -> float:
            return float(np.linalg.norm(b / (mu - values)) - rho)

        top = values[-1]
        mu = scipy.optimize.brentq(excess, top + 1e-12, top + np.linalg.norm(b) / rho + 1, xtol=1e-15, rtol=1e-14)
        return self.rise(scale * (vectors @ (b / (mu - values))))

    def highest_in_box(self, half: np.ndarray) -> float:
        """max of rise(e) over |e_i| <= half_i: a convex function has it at a corner."""
        return max(self.rise(half * np.array(signs)) for signs in itertools.product((-1, 1), repeat=len(half)))
