"""The Hessian's extreme eigenvalues and its spectral density, from one Krylov run.

Legend: P parameters, m Lanczos steps, k eigenpairs asked for, d deflated ones, n probes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.curvature.hessian import HessianOperator, block_forms
from landscape.curvature.products import Way
from landscape.curvature.pyhessian import pyhessian_eigenvalues
from landscape.linalg.exclusion import CONFIDENCE, excluded_above, miss_probability
from landscape.linalg.lanczos import KrylovSpace, Tridiagonal, lanczos, lanczos_together
from landscape.linalg.means import sampling_stderr
from landscape.linalg.probes import gaussian
from landscape.linalg.quadrature import Density, combine, mean_stderr, probe_density
from landscape.measures.metering import Progress, metered
from landscape.parameters import group_parameters, sum_groups
from landscape.problem import Problem
from landscape.records import Record
from landscape.work import WEIGHTS

_DEFLATION_STEPS = 16  # Lanczos steps whose converged Ritz pairs are taken out of the density's probes
_PROBE_STEPS = 6  # two probes of 6 nodes each resolve what is left once the outliers are out; the mean needs one
_FEWEST_PROBES = 2
# An eigenvalue above the largest one found by this share of the spectrum, or by rtol, is to be excluded. Without, a
# third of the runs on a ResNet-20 whose second eigenvalue is 12% smaller took that one for the largest at rtol 0.05.
_UNSEEN = 0.05
_CURVE_POINTS = 400
_CURVE_WIDTH = 0.01  # of the spectrum's range, Ghorbani et al. 2019 use about this
# keys that keep the probes of different purposes apart
_KRYLOV, _RESTART, _DENSITY = 1_000_001, 1_000_002, 1_000_003


@dataclass(frozen=True)
class Spectrum:
    """One Krylov run on the Hessian, shared by the measures that need it.

    Each takes as many of the first steps as it would have made alone: no value depends on what else is measured.

    Attributes:
        space: the basis and the tridiagonal matrix.
        seconds: of the run.
    """

    space: KrylovSpace
    seconds: float

    def first(self, steps: int) -> Spectrum:
        """The first `steps` steps, with their share of the time."""
        steps = min(steps, self.steps)
        return Spectrum(self.space.first(steps), self.seconds * steps / self.steps)

    @property
    def steps(self) -> int:
        """The Lanczos steps."""
        return self.space.tridiagonal.steps

    @property
    def cost(self) -> float:
        """Gradient-equivalents."""
        return WEIGHTS["hessian_product"] * self.steps


def eigenvalue_steps(problem: Problem, budget: float) -> int:
    """The products that `top_eigenvalues` may make; one is kept back for `sampling_stderr` on a subset."""
    kept = 0 if len(problem) >= problem.population else 1
    return max(1, _products(budget) - kept)


def deflation_steps(problem: Problem, budget: float) -> int:
    """The Krylov steps that `spectral_density` deflates by: all P where the budget allows, else 16 or a third of it."""
    if problem.size <= _products(budget):
        return problem.size
    return max(1, min(_DEFLATION_STEPS, _products(budget) // 3))


def _products(budget: float) -> int:
    return int(budget / WEIGHTS["hessian_product"] + 1e-9)


def compute_spectrum(
    problem: Problem,
    *,
    fewest: int,
    most: int,
    top: int = 3,
    rtol: float = 0.05,
    seed: int = 0,
    hvp: Way = "exact",
    on_progress: Progress | None = None,
) -> Spectrum:
    """Run Lanczos with full reorthogonalisation until the largest eigenvalue is certain to `rtol`.

    The run stops when min(residual, residual^2/gap) <= rtol |lambda_1| and a missed eigenvalue above it by more than
    max(rtol, 5%) is excluded with 99% confidence, after more than `top` steps and no fewer than `fewest`;
    or after `most`. Where the Krylov space is invariant it goes on from a fresh vector, so that multiple eigenvalues
    are found.

    Cost: 2.4 gradient-equivalents a product; memory P m scalars.
    """
    start = time.perf_counter()

    def enough(run: Tridiagonal) -> bool:
        if on_progress is not None:
            ritz = run.ritz()
            message = f"{ritz.values[0]:.5g} ± {ritz.error_bound(0):.1g}"
            on_progress(message, WEIGHTS["hessian_product"] * min(most, max(fewest, run.steps + 1)))
        done = run.steps >= fewest and _certain(run, rtol, min(top + 1, problem.size), problem.size)
        return bool(problem.group.first(done))

    def random(*keys: int) -> Tensor:
        return gaussian(problem.size, seed, *keys, dtype=problem.dtype, device=problem.device)

    space = lanczos(
        HessianOperator(problem, way=hvp),
        random(_KRYLOV),
        max(most, fewest),
        stop=enough,
        restart=lambda step: random(_RESTART, step),
    )
    return Spectrum(space, time.perf_counter() - start)


def _certain(run: Tridiagonal, rtol: float, enough: int, size: int) -> bool:
    """Whether `enough` steps were made, the first Ritz value is known to `rtol`, and none far above it was missed."""
    if run.steps < enough:
        return False
    ritz = run.ritz()
    if not ritz.error_bound(0) <= rtol * abs(ritz.values[0]):
        return False
    beyond = float(ritz.values[0]) + max(rtol, _UNSEEN) * float(np.abs(ritz.values).max())
    return miss_probability(run, beyond, size) <= 1 - CONFIDENCE


@metered
def top_eigenvalues(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    top: int = 3,
    seed: int = 0,
    hvp: Way = "exact",
    by: str = "role",
    engine: str = "landscape",
    spectrum: Spectrum | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The largest eigenvalues of the Hessian of the mean loss, and the most negative Ritz value.

    Lanczos: Ritz pairs (theta, u) with residual norm ||H u - theta u||; some eigenvalue lies within
    min(residual, residual^2/gap) of theta. That none larger was missed is a second question, which the random start
    answers with a probability (`landscape.linalg.exclusion`); `converged` asks for both.

    Args:
        problem: the problem.
        rtol: relative error of the largest eigenvalue to reach.
        budget: gradient-equivalents at most.
        top: how many of the largest to report; `rtol` and `converged` concern the first alone.
        seed: of the start vector.
        hvp: how products are made (see `landscape.curvature.products`).
        by: how parameters are grouped.
        engine: `landscape`, or `pyhessian` for that package's power iteration on the same problem.
        spectrum: a Krylov run to use instead of a new one.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` the largest algebraic eigenvalue, `stderr` its error bound, `sampling_stderr` to first
            order the
        standard error of u' H u over the blocks of samples, `eigenvalues` and `residuals` (k, descending),
        `most_negative` and its residual, `excluded_above`: the value above which an eigenvalue is excluded with 99%
        confidence, `products`; `groups`: theta ||u_s||^2, which add up to the value.

    Cost: 2.4 gradient-equivalents a product, and one product for `sampling_stderr` where the samples are a subset.

    Reference: Lanczos 1950; Parlett 1998, chapters 11 and 13.
    """
    groups = group_parameters(problem.infos, by)
    if engine == "pyhessian":
        return _from_pyhessian(problem, rtol, budget, top, seed, groups)
    most = eigenvalue_steps(problem, budget)
    shared = spectrum is not None
    if spectrum is None:
        spectrum = compute_spectrum(
            problem, fewest=1, most=most, top=top, rtol=rtol, seed=seed, hvp=hvp, on_progress=on_progress
        )
    steps, enough = range(1, min(most, spectrum.steps) + 1), min(top + 1, problem.size)
    certain = next(
        (m for m in steps if _certain(spectrum.first(m).space.tridiagonal, rtol, enough, problem.size)), None
    )
    spectrum = spectrum.first(steps[-1] if certain is None else certain)
    ritz = spectrum.space.tridiagonal.ritz()
    vector = spectrum.space.ritz_vectors(ritz.vectors[:, :1])
    value = float(ritz.values[0])
    excluded = excluded_above(spectrum.space.tridiagonal, problem.size)
    return Record(
        value=value,
        stderr=ritz.error_bound(0),
        sampling_stderr=_rayleigh_sampling_stderr(problem, vector),
        converged=certain is not None,
        cost=spectrum.cost if shared else 0.0,
        seconds=spectrum.seconds if shared else 0.0,
        groups=_eigenvalue_groups(problem, value, vector[:, 0], groups),
        details={
            "eigenvalues": [float(v) for v in ritz.values[:top]],
            "residuals": [float(r) for r in ritz.residuals[:top]],
            "most_negative": float(ritz.values[-1]),
            "most_negative_residual": float(ritz.residuals[-1]),
            "excluded_above": excluded if math.isfinite(excluded) else None,
            "products": spectrum.steps,
        },
    )


def _rayleigh_sampling_stderr(problem: Problem, vector: Tensor) -> float:
    """The standard error of u' H u over the blocks: to first order a change dH moves the eigenvalue by u' dH u."""
    if len(problem) >= problem.population:
        return 0.0
    theta, weights = problem.parameters, problem.weights.numpy()
    blocks = [(low, high) for low, high in problem.blocks() if weights[low:high].sum() > 0]
    omega = np.array([weights[low:high].sum() for low, high in blocks]) / problem.total_weight
    own = {low for _, low, _ in problem.own_blocks()}
    forms = problem.group.sum_array(
        np.array(
            [float(block_forms(problem, theta, low, high, vector).sum()) if low in own else 0.0 for low, high in blocks]
        )
    )
    return sampling_stderr(forms / omega, omega, sampled_share=len(problem) / problem.population)


def _eigenvalue_groups(
    problem: Problem, value: float, vector: Tensor, groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """theta ||u_s||^2 by group for a unit eigenvector u (P,): the parts add up to theta."""
    pieces = torch.split(vector.double().square(), [info.size for info in problem.infos])
    share = {info.name: float(piece.sum()) for info, piece in zip(problem.infos, pieces, strict=True)}
    return sum_groups({name: value * part for name, part in share.items()}, groups)


def _from_pyhessian(
    problem: Problem, rtol: float, budget: float, top: int, seed: int, groups: Mapping[str, Sequence[str]]
) -> Record:
    # a product a vector measures the residuals, one the sampling error
    products = max(1, (eigenvalue_steps(problem, budget) - top) // top)
    values, vectors = pyhessian_eigenvalues(problem, top=top, max_products=products, seed=seed)
    # what power iteration reports has no error; one product a vector measures it
    residuals = (HessianOperator(problem).matmat(vectors) - vectors * torch.from_numpy(values).to(vectors)).norm(dim=0)
    order = np.argsort(values)[::-1]
    first = int(order[0])
    return Record(
        value=float(values[first]),
        stderr=float(residuals[first]),
        sampling_stderr=_rayleigh_sampling_stderr(problem, vectors[:, first : first + 1]),
        # it finds the largest in magnitude: if all of those are negative, the largest algebraic one was not found
        converged=bool(values[first] > 0 and residuals[first] <= rtol * abs(values[first])),
        groups=_eigenvalue_groups(problem, float(values[first]), vectors[:, first], groups),
        details={
            "engine": "pyhessian",
            "eigenvalues": [float(values[i]) for i in order],
            "residuals": [float(residuals[int(i)]) for i in order],
        },
    )


@metered
def spectral_density(
    problem: Problem,
    *,
    rtol: float = 0.05,
    budget: float = 200.0,
    seed: int = 0,
    hvp: Way = "exact",
    spectrum: Spectrum | None = None,
    on_progress: Progress | None = None,
) -> Record:
    """The density of the Hessian's eigenvalues, phi(t) = (1/P) sum_i delta(t - lambda_i).

    The Ritz pairs of the Krylov run whose residual is at most rtol max|theta| are taken out; stochastic Lanczos
    quadrature with n Gaussian vectors, 6 steps each (fewer where the budget is small), sees the rest:

        phi = (1/P) sum_{i <= d} delta(t - theta_i) + ((P - d)/P) (1/n) sum_j sum_i w_ji delta(t - theta_ji)

    The mean of phi is an estimate of Tr H / P that is unbiased whatever was taken out, and shares nothing with
    `hessian_trace` but the Hessian products.

    Args:
        problem: the problem.
        rtol: relative standard error of the mean to reach; two probes at least.
        budget: gradient-equivalents at most, those of `spectrum` included.
        seed: of the probes.
        hvp: how products are made (see `landscape.curvature.products`).
        spectrum: a Krylov run to use instead of a new one.
        on_progress: hears the running estimate.

    Returns:
        A record: `value` the mean, `stderr` its standard error (see `mean_stderr`), `sampling_stderr` undefined (see
        `hessian_trace`), `nodes` and `weights` (they sum to 1), `curve` {x, density} smoothed by a Gaussian of
        standard deviation `sigma`, `deflated` d, `probes` n and `steps`.

    Cost: 2.4 gradient-equivalents a product.

    Reference: Golub and Meurant 2010; Ghorbani, Krishnan and Xiao 2019; deflation as in Hutch++ (Meyer et al. 2021).
    """
    shared = spectrum is not None
    if spectrum is None:
        steps = deflation_steps(problem, budget)
        spectrum = compute_spectrum(problem, fewest=steps, most=steps, seed=seed, hvp=hvp, on_progress=on_progress)
    spectrum = spectrum.first(deflation_steps(problem, budget))
    space = spectrum.space
    ritz = space.tridiagonal.ritz()
    kept = np.flatnonzero(ritz.residuals <= rtol * np.abs(ritz.values).max())
    known = ritz.values[kept].tolist()
    deflate = torch.linalg.qr(space.ritz_vectors(ritz.vectors[:, kept])).Q if len(kept) else None
    rest = problem.size - len(kept)
    products = max(1, _products(budget) - spectrum.steps)
    steps = min(_PROBE_STEPS, max(1, products // _FEWEST_PROBES))
    affordable = products // steps
    runs: list[Tridiagonal] = []
    density, stderr = combine(problem.size, known, []), 0.0
    operator = HessianOperator(problem, way=hvp)
    wanted = min(affordable, _FEWEST_PROBES) if rest else 0
    while len(runs) < wanted:
        if on_progress is not None:
            expected = spectrum.cost + WEIGHTS["hessian_product"] * steps * wanted
            on_progress(f"{density.mean:.3g} ± {stderr:.1g}" if runs else "", expected)
        keys = range(len(runs), wanted)
        starts = [gaussian(problem.size, seed, _DENSITY, k, dtype=problem.dtype, device=problem.device) for k in keys]
        runs += lanczos_together(operator, starts, steps, deflate=deflate)
        density = combine(problem.size, known, [probe_density(run) for run in runs])
        stderr = rest / problem.size * mean_stderr(runs, rest)
        if problem.group.first(stderr > rtol * abs(density.mean)):
            # the variance falls as 1/n; at most twice as many at once, since it is an estimate itself
            needed = len(runs) * (stderr / (rtol * abs(density.mean))) ** 2 if density.mean else math.inf
            wanted = min(affordable, math.ceil(min(needed, 2 * len(runs))))
    x, sigma = _grid(density)
    return Record(
        value=density.mean,
        stderr=stderr,
        sampling_stderr=0.0 if len(problem) >= problem.population else math.nan,
        converged=bool(stderr <= rtol * abs(density.mean)),
        cost=spectrum.cost if shared else 0.0,
        seconds=spectrum.seconds if shared else 0.0,
        details={
            "nodes": density.nodes.tolist(),
            "weights": density.weights.tolist(),
            "curve": {"x": x.tolist(), "density": density.smooth(sigma, x).tolist()},
            "sigma": sigma,
            "deflated": len(kept),
            "probes": len(runs),
            "steps": steps,
        },
    )


def _grid(density: Density) -> tuple[np.ndarray, float]:
    """Points from below the smallest node to above the largest, and the width of the smoothing."""
    low, high = float(density.nodes.min()), float(density.nodes.max())
    width = high - low or max(abs(high), 1.0)
    sigma = _CURVE_WIDTH * width
    return np.linspace(low - 5 * sigma, high + 5 * sigma, _CURVE_POINTS), sigma
