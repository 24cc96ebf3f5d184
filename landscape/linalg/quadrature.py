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
from scipy.optimize import brentq

from landscape.linalg.lanczos import Tridiagonal

_STEEPEST = 500.0  # of a tilt, over the range of the nodes


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


def average(rules: Sequence[Density]) -> Density:
    """The mean of n >= 1 densities."""
    nodes = np.concatenate([rule.nodes for rule in rules])
    return Density(nodes, np.concatenate([rule.weights / rule.weights.sum() for rule in rules]) / len(rules))


def tilted(density: Density, mean: float) -> Density:
    """The density on the same nodes that has the given mean and is nearest to `density` in relative entropy.

    Its weights are w_i exp(eta theta_i) up to a factor (Csiszar 1975). A mean that no weights on these nodes have, or
    only those of a single node, leaves `density` as it is.
    """
    nodes, weights = density.nodes, density.weights / density.weights.sum()
    low, high = float(nodes.min()), float(nodes.max())
    if not low < mean < high:
        return density
    scaled = (nodes - low) / (high - low)  # so that eta is a pure number

    def at(eta: float) -> np.ndarray:
        exponents = eta * scaled
        result: np.ndarray = weights * np.exp(exponents - exponents.max())
        shares: np.ndarray = result / result.sum()
        return shares

    def excess(eta: float) -> float:
        return float(at(eta) @ scaled) - (mean - low) / (high - low)

    if excess(-_STEEPEST) > 0 or excess(_STEEPEST) < 0:
        return density
    return Density(nodes, at(brentq(excess, -_STEEPEST, _STEEPEST, xtol=1e-14)))


def combine(size: int, known: Sequence[float], rest: Density | None) -> Density:
    """Join known eigenvalues and the density of the others.

    Args:
        size: P.
        known: eigenvalues, d of them.
        rest: what probes found in the complement; None if d = P.

    Returns:
        phi = (1/P) sum_known delta + (P - d)/P rest, sorted by node.
    """
    values = np.asarray(known, dtype=float)
    nodes, weights = values, np.full(len(values), 1 / size)
    if rest is not None:
        nodes = np.concatenate([nodes, rest.nodes])
        weights = np.concatenate([weights, rest.weights / rest.weights.sum() * (size - len(values)) / size])
    order = np.argsort(nodes)
    return Density(nodes[order], weights[order])
