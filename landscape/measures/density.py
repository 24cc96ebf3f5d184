"""The Hessian's spectral density.

Legend: P parameters, m Lanczos steps of the shared Krylov run, d dimensions that are left, n probes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from landscape.curvature.products import Way
from landscape.linalg.lanczos import KrylovSpace, Tridiagonal, lanczos_together
from landscape.linalg.probes import gaussian
from landscape.linalg.quadrature import Density, average, combine, mean_stderr, probe_density, tilted
from landscape.measures.gauss_newton import hessian_squares_trial, squares_of_hessian
from landscape.measures.krylov import Spectrum, affordable_products, compute_spectrum, deflation_steps, for_density
from landscape.measures.metering import Progress, metered
from landscape.measures.sharing import Shared
from landscape.measures.trace_parts import Blocks
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

Mean = Literal["auto", "products"]

_STEPS = 8  # of a run that sees the shape of what is left
# From one run the share of the eigenvalues below any value has a standard error of at most sqrt(1/(2 d)): 1% here.
# Fewer dimensions take a second run.
_ONE_RUN = 5_000
_AT_ONCE = 8  # probes of one product, whose vectors are held together
_CURVE_POINTS = 400
_CURVE_WIDTH = 0.01  # of the spectrum's range, Ghorbani et al. 2019 use about this
# keys that keep the probes of different purposes apart
_SHAPE, _MEAN = 1_000_003, 1_000_005


@metered
def spectral_density(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    hvp: Way = "exact",
    mean: Mean = "auto",
    spectrum: Spectrum | None = None,
    shared: Shared | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The density of the Hessian's eigenvalues, phi(t) = (1/P) sum_i delta(t - lambda_i).

    The Krylov run that finds the largest eigenvalue is taken out whole, with the basis Q (P, m) and the Ritz values
    theta_i of Q'HQ. H differs from the two blocks Q'HQ and (I - QQ') H (I - QQ') by a term of rank two, so that taking
    it out changes no count of eigenvalues by more than one. Stochastic Lanczos quadrature, n runs of 8 steps from
    Gaussian vectors, sees the second block:

        phi = (1/P) sum_{i <= m} delta(t - theta_i) + (d/P) (1/n) sum_j sum_i w_ji delta(t - theta_ji),   d = P - m

    One run is enough where d is large. Its mean is an estimate of Tr H / P. Where the trace is known exactly (see
    `hessian_trace`) it takes the place of that; elsewhere, and with `mean="products"`, the mean comes from further
    probes of one product each where its standard error is above `rtol`, from which the first run's space is taken out
    as well: unbiased whatever was taken out, and with nothing in common with `hessian_trace` but the products. The
    weights of the runs are tilted to the mean.

    Args:
        problem: the problem.
        rtol: relative standard error of the mean to reach.
        budget: gradient-equivalents at most, those of `spectrum` included.
        seed: of the probes.
        hvp: how products are made (see `landscape.curvature.products`).
        mean: where the mean comes from: `products` alone, or by `auto` from the exact trace where that is known.
        spectrum: a Krylov run to use instead of a new one.
        shared: what other measures of the same analysis know.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` the mean, `stderr` its standard error (see `mean_stderr`), `sampling_stderr` undefined (see
        `hessian_trace`), `nodes` and `weights` (they sum to 1), `curve` {x, density} smoothed by a Gaussian of
        standard deviation `sigma`, `deflated` m, `runs` n of `steps` steps, and `probes` of one product.

    Cost: 2.4 gradient-equivalents a product, and (1 + 2K)/3 for the exact trace of K outputs.

    Reference: Golub and Meurant 2010; Ghorbani, Krishnan and Xiao 2019; taking a space out as in Hutch++ (Meyer et al.
    2021).
    """
    given = spectrum is not None
    if spectrum is None:
        most = deflation_steps(problem, budget)
        fewest = most if most == problem.size else 1
        spectrum = compute_spectrum(
            problem, fewest=fewest, most=most, rtol=rtol, seed=seed, hvp=hvp, on_progress=on_progress
        )
    spectrum = for_density(problem, spectrum, rtol=rtol, budget=budget)
    trial = hessian_squares_trial(problem) if mean == "auto" else 0.0
    probing = _Probing(problem, spectrum, rtol, budget - trial, seed, on_progress)
    known, d = spectrum.space.tridiagonal.ritz().values.tolist(), problem.size - spectrum.steps
    runs = probing.runs(d) if d else []
    if runs and runs[0].tridiagonal.steps == d:  # it has seen every dimension that was left
        known, runs = known + runs[0].tridiagonal.ritz().values.tolist(), []
    value, stderr = _mean(problem.size, known, [run.tridiagonal for run in runs])
    trace = _exact_trace(problem, seed, trial + probing.budget_left, shared) if runs and mean == "auto" else None
    probes: list[Tridiagonal] = []
    if trace is not None:
        value, stderr = trace / problem.size, 0.0
    elif problem.group.first(stderr > rtol * abs(value)):
        probes = probing.probes(known, runs[0], value)
    if probes:
        value, stderr = _mean(problem.size, [*known, *runs[0].tridiagonal.ritz().values], probes)
    rest = average([probe_density(run.tridiagonal) for run in runs]) if runs else None
    if rest is not None:  # the curve's mean is the one that is reported
        rest = tilted(rest, (problem.size * value - math.fsum(known)) / (problem.size - len(known)))
    density = combine(problem.size, known, rest)
    x, sigma = _grid(density)
    return Record(
        value=value,
        stderr=stderr,
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        converged=bool(stderr <= rtol * abs(value)),
        cost=spectrum.cost if given else 0.0,
        seconds=spectrum.seconds if given else 0.0,
        details={
            "nodes": density.nodes.tolist(),
            "weights": density.weights.tolist(),
            "curve": {"x": x.tolist(), "density": density.smooth(sigma, x).tolist()},
            "sigma": sigma,
            "deflated": len(known),
            "runs": len(runs),
            "steps": max((run.tridiagonal.steps for run in runs), default=0),
            "probes": len(probes),
        },
    )


def _exact_trace(problem: Problem, seed: int, budget: float, shared: Shared | None) -> float | None:
    """Tr H where it takes no probes and the budget allows it."""
    squares = squares_of_hessian(
        problem, Blocks.of(problem), seed=seed, budget=budget, shared=shared or Shared(problem)
    )
    return None if squares is None else float(squares.values().sum())


def _mean(size: int, known: Sequence[float], runs: Sequence[Tridiagonal]) -> tuple[float, float]:
    """Tr A / P and its standard error, from the trace of a block that is known and probes of the other one."""
    rest, taken = size - len(known), math.fsum(known)
    if not runs:
        return taken / size, 0.0
    inside = float(np.mean([run.alpha[0] for run in runs]))
    return (taken + rest * inside) / size, rest / size * mean_stderr(runs, rest)


class _Probing:
    """The probes of one density: what they may cost, and from which vectors they start."""

    def __init__(
        self,
        problem: Problem,
        spectrum: Spectrum,
        rtol: float,
        budget: float,
        seed: int,
        on_progress: Progress | None,
    ) -> None:
        self._problem, self._spectrum, self._rtol, self._seed = problem, spectrum, rtol, seed
        self._on_progress = on_progress
        self._left = max(1, affordable_products(budget) - spectrum.steps)
        self._done = 0

    @property
    def budget_left(self) -> float:
        """Gradient-equivalents that are left."""
        return WEIGHTS["hessian_product"] * self._left

    def runs(self, dimensions: int) -> list[KrylovSpace]:
        """Lanczos runs in the complement of the shared one, which has `dimensions`."""
        count = min(1 if dimensions >= _ONE_RUN else 2, self._left)
        steps = min(_STEPS, self._left // count)
        self._tell("", count * steps)
        starts = [self._start(_SHAPE, k) for k in range(count)]
        runs = lanczos_together(self._spectrum.operator, starts, steps, deflate=[self._spectrum.space.basis])
        self._spend(sum(run.tridiagonal.steps for run in runs))
        return runs

    def probes(self, known: Sequence[float], run: KrylovSpace, mean: float) -> list[Tridiagonal]:
        """Probes of one product in the complement of the shared run and of `run`, as many as bring the mean to `rtol`.

        Args:
            known: the Ritz values of the shared run.
            run: the first run in its complement.
            mean: what is known of the mean so far.

        The variance of a probe is first foreseen from the run itself, 2 ||A||_F^2 less what the run took out; then it
        is estimated. Of such an estimate at most twice as many probes are made at once.
        """
        t = run.tridiagonal
        known = [*known, *t.ritz().values]
        left_out = (t.alpha**2).sum() + 2 * (t.beta**2).sum()
        rest = self._problem.size - len(known)
        seen = (rest + t.steps) * (t.alpha[0] ** 2 + t.beta[0] ** 2)
        target = self._rtol * abs(mean)
        foreseen = math.sqrt(2 * max(seen - left_out, 0.0)) / self._problem.size
        probes: list[Tridiagonal] = []
        if not self._left:
            return probes
        wanted = self._needed(1, foreseen, target, self._left)
        while len(probes) < wanted:
            numbers = range(len(probes), min(wanted, len(probes) + _AT_ONCE))
            starts = [self._start(_MEAN, k) for k in numbers]
            spaces = [self._spectrum.space.basis, run.basis]
            more = lanczos_together(self._spectrum.operator, starts, 1, deflate=spaces)
            probes += [one.tridiagonal for one in more]
            self._spend(len(more))
            mean, stderr = _mean(self._problem.size, known, probes)
            if len(probes) == wanted:
                needed = self._needed(len(probes), stderr, self._rtol * abs(mean), 2 * len(probes))
                wanted = min(needed, len(probes) + self._left)
            self._tell(f"{mean:.3g} ± {stderr:.1g}", wanted - len(probes))
        return probes

    def _needed(self, count: int, stderr: float, target: float, most: int) -> int:
        """How many probes have a standard error of `target`, where `count` have `stderr`; at most `most`."""
        needed = count * (stderr / target) ** 2 if target > 0 else math.inf
        return int(self._problem.group.first(max(1, math.ceil(min(needed, most)))))

    def _start(self, *keys: int) -> Tensor:
        problem = self._problem
        return gaussian(problem.size, self._seed, *keys, dtype=problem.dtype, device=problem.device)

    def _spend(self, products: int) -> None:
        self._done += products
        self._left = max(0, self._left - products)

    def _tell(self, message: str, further: int) -> None:
        if self._on_progress is not None:
            self._on_progress(message, self._spectrum.cost + WEIGHTS["hessian_product"] * (self._done + further))


def _grid(density: Density) -> tuple[np.ndarray, float]:
    """Points from below the smallest node to above the largest, and the width of the smoothing."""
    low, high = float(density.nodes.min()), float(density.nodes.max())
    width = high - low or max(abs(high), 1.0)
    sigma = _CURVE_WIDTH * width
    return np.linspace(low - 5 * sigma, high + 5 * sigma, _CURVE_POINTS), sigma
