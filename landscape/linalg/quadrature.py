"""Spectral densities by stochastic Lanczos quadrature.

The density of a symmetric A (P, P) is phi(t) = (1/P) sum_i delta(t - lambda_i). For a random probe v with E v v' = I,
E v' f(A) v = tr f(A), and m Lanczos steps from v integrate polynomials of degree 2m - 1 exactly: nodes are the Ritz
values, weights the squared first components of the eigenvectors of T_m (Golub and Meurant 2010; Ghorbani et al. 2019).
Known eigenpairs are taken out first: they enter with weight 1/P each, and the probes see the rest alone. Each probe's
weights are normalised, so the mean is unbiased only for probes whose direction is uniform in the rest: Gaussian ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape.linalg.lanczos import Tridiagonal


@dataclass(frozen=True)
class Density:
    """A spectral density as weighted nodes; the weights sum to 1."""

    nodes: np.ndarray
    weights: np.ndarray

    @property
    def mean(self) -> float:
        """The density's mean, an estimate of tr A / P."""
        return float(self.nodes @ self.weights)

    def smooth(self, sigma: float, grid: np.ndarray) -> np.ndarray:
        """The density convolved with a Gaussian of standard deviation `sigma`, on `grid`."""
        z = (grid[:, None] - self.nodes[None, :]) / sigma
        return np.asarray(np.exp(-0.5 * z**2) @ self.weights / (sigma * np.sqrt(2 * np.pi)))


def probe_density(run: Tridiagonal) -> Density:
    """The quadrature rule of one Lanczos run: nodes theta_i, weights (first component of s_i)^2."""
    ritz = run.ritz()
    return Density(ritz.values, ritz.vectors[0] ** 2)


def mean_stderr(runs: Sequence[Tridiagonal], size: int) -> float:
    """The standard error of the mean of A's density over probes whose directions are uniform in `size` dimensions.

        Var(u' A u) = 2/(d + 2) (m_2 - m_1^2),   m_k = tr A^k / d,   u uniform on the unit sphere of R^d

    m_1 is estimated by the mean of u'Au, and m_2 by that of ||Au||^2 = alpha_1^2 + beta_1^2, which every run has at
    hand: far steadier than the spread of a few values of u'Au, and known from one probe on. The square of the estimate
    of m_1 is too large by Var/n; solving for Var takes that out, so that the squared standard error is unbiased.

    Args:
        runs: the probes' Lanczos runs, n >= 1 of them.
        size: d.
    """
    first = np.mean([run.alpha[0] for run in runs])
    second = np.mean([run.alpha[0] ** 2 + run.beta[0] ** 2 for run in runs])
    share = 2 / (size + 2)
    variance = share * max(second - first**2, 0.0) / (1 - share / len(runs))
    return float(np.sqrt(variance / len(runs)))


def combine(size: int, known: Sequence[float], probes: Sequence[Density]) -> Density:
    """Join known eigenvalues and the probes' average.

    Args:
        size: P.
        known: eigenvalues that were deflated, d of them.
        probes: the quadrature rules of Lanczos runs in the complement, at least one if d < P.

    Returns:
        phi = (1/P) sum_known delta + (P - d)/P times the mean of the probes' rules, sorted by node.
    """
    rest = (size - len(known)) / size
    nodes = np.concatenate([np.asarray(known, dtype=float), *(p.nodes for p in probes)])
    weights = np.concatenate(
        [np.full(len(known), 1 / size), *(p.weights / p.weights.sum() * rest / len(probes) for p in probes)]
    )
    order = np.argsort(nodes)
    return Density(nodes[order], weights[order])
