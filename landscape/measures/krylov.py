"""Krylov runs: on the Hessian, which its eigenvalues and its density share, and on matrices in its place.

Legend: P parameters, m Lanczos steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape.curvature.hessian import HessianOperator
from landscape.curvature.products import Way
from landscape.distributed import Group
from landscape.linalg.exclusion import CONFIDENCE, miss_probability
from landscape.linalg.lanczos import KrylovSpace, Tridiagonal, lanczos
from landscape.linalg.operator import SymmetricOperator
from landscape.linalg.probes import gaussian
from landscape.measures.metering import Progress
from landscape.problem import Problem
from landscape.work import WEIGHTS

# An eigenvalue above the largest one found by this share of the spectrum, or by rtol, is to be excluded. Without, a
# third of the runs on a ResNet-20 whose second eigenvalue is 12% smaller took that one for the largest at rtol 0.05.
_UNSEEN = 0.05
_MOST_DEFLATED = 16  # Lanczos steps that the density takes out, where the largest eigenvalue is not certain before
DEFLATION_TOP = 3  # more than so many steps at the least
# keys that keep the probes of different purposes apart
_KRYLOV, _RESTART = 1_000_001, 1_000_002


@dataclass(frozen=True)
class Spectrum:
    """One Krylov run on the Hessian, shared by the measures that need it.

    Each takes as many of the first steps as it would have made alone: no value depends on what else is measured.

    Attributes:
        operator: the Hessian, with the graphs that it keeps.
        space: the basis and the tridiagonal matrix.
        seconds: of the run.
        product: gradient-equivalents of a product.
    """

    operator: SymmetricOperator
    space: KrylovSpace
    seconds: float
    product: float = WEIGHTS["hessian_product"]

    def first(self, steps: int) -> Spectrum:
        """The first `steps` steps, with their share of the time."""
        steps = min(steps, self.steps)
        return Spectrum(self.operator, self.space.first(steps), self.seconds * steps / self.steps, self.product)

    @property
    def steps(self) -> int:
        """The Lanczos steps."""
        return self.space.tridiagonal.steps

    @property
    def cost(self) -> float:
        """Gradient-equivalents."""
        return self.product * self.steps


def affordable_products(budget: float, product: float = WEIGHTS["hessian_product"]) -> int:
    """The products within a budget of gradient-equivalents, those with the Hessian by default."""
    return int(budget / product + 1e-9)


def eigenvalue_steps(problem: Problem, budget: float, product: float = WEIGHTS["hessian_product"]) -> int:
    """The most steps of `top_eigenvalues`; one product is kept back for `sampling_stderr` on a subset."""
    kept = 0 if len(problem) >= problem.population else 1
    return max(1, affordable_products(budget, product) - kept)


def deflation_steps(problem: Problem, budget: float) -> int:
    """The most steps of `spectral_density`: all P where the budget allows, else 16 or a third of it."""
    if problem.size <= affordable_products(budget):
        return problem.size
    return max(1, min(_MOST_DEFLATED, affordable_products(budget) // 3))


def compute_spectrum(
    problem: Problem,
    *,
    fewest: int,
    most: int,
    top: int = DEFLATION_TOP,
    rtol: float = 0.05,
    seed: int = 0,
    hvp: Way = "exact",
    on_progress: Progress | None = None,
) -> Spectrum:
    """Run Lanczos on the Hessian of all parameters; see `krylov_run`."""
    operator = HessianOperator(problem, way=hvp)
    return krylov_run(
        operator, problem.group, fewest=fewest, most=most, top=top, rtol=rtol, seed=seed, on_progress=on_progress
    )


def krylov_run(
    operator: SymmetricOperator,
    group: Group,
    *,
    fewest: int,
    most: int,
    top: int,
    rtol: float,
    seed: int,
    keys: tuple[int, ...] = (),
    product: float = WEIGHTS["hessian_product"],
    on_progress: Progress | None = None,
) -> Spectrum:
    """Run Lanczos with full reorthogonalisation until the largest eigenvalue is certain to `rtol`.

    The run stops when min(residual, residual^2/gap) <= rtol |lambda_1| and a missed eigenvalue above it by more than
    max(rtol, 5%) is excluded with 99.9% confidence, after more than `top` steps and no fewer than `fewest`;
    or after `most`. Where the Krylov space is invariant it goes on from a fresh vector, so that multiple eigenvalues
    are found.

    Args:
        operator: the matrix (P, P).
        group: the processes that share the samples.
        fewest, most: steps.
        top: how many eigenvalues are asked for.
        rtol: relative error of the largest.
        seed: of the start vector.
        keys: what makes the start another one than those of other runs.
        product: what a product costs, in gradient-equivalents.
        on_progress: hears the running estimate.

    Cost: a product a step; memory P m scalars.
    """
    start = time.perf_counter()

    def enough(run: Tridiagonal) -> bool:
        if on_progress is not None:
            ritz = run.ritz()
            message = f"{ritz.values[0]:.5g} ± {ritz.error_bound(0):.1g}"
            on_progress(message, product * min(most, max(fewest, run.steps + 1)))
        done = run.steps >= fewest and _certain(run, rtol, min(top + 1, operator.size), operator.size)
        return bool(group.first(done))

    def random(*purpose: int) -> Tensor:
        return gaussian(operator.size, seed, *purpose, *keys, dtype=operator.dtype, device=operator.device)

    space = lanczos(
        operator,
        random(_KRYLOV),
        max(most, fewest),
        stop=enough,
        restart=lambda step: random(_RESTART, step),
    )
    return Spectrum(operator, space, time.perf_counter() - start, product)


def for_eigenvalues(
    problem: Problem, spectrum: Spectrum, *, top: int, rtol: float, budget: float
) -> tuple[Spectrum, bool]:
    """What `top_eigenvalues` alone would have run of it, and whether the largest eigenvalue is certain."""
    return until_certain(spectrum, eigenvalue_steps(problem, budget, spectrum.product), top + 1, rtol)


def for_density(problem: Problem, spectrum: Spectrum, *, rtol: float, budget: float) -> Spectrum:
    """What `spectral_density` alone would have run of it."""
    most = deflation_steps(problem, budget)
    if most == problem.size:
        return spectrum.first(most)
    return until_certain(spectrum, most, DEFLATION_TOP + 1, rtol)[0]


def until_certain(spectrum: Spectrum, most: int, enough: int, rtol: float) -> tuple[Spectrum, bool]:
    """The run up to where its largest eigenvalue was certain, after `enough` steps at the least, or to `most`."""
    size = spectrum.operator.size
    most, enough = min(most, spectrum.steps), min(enough, size)
    for m in range(1, most + 1):
        if _certain(spectrum.space.first(m).tridiagonal, rtol, enough, size):
            return spectrum.first(m), True
    return spectrum.first(most), False


def _certain(run: Tridiagonal, rtol: float, enough: int, size: int) -> bool:
    """Whether `enough` steps were made, the first Ritz value is known to `rtol`, and none far above it was missed."""
    if run.steps < enough:
        return False
    ritz = run.ritz()
    if not ritz.error_bound(0) <= rtol * abs(ritz.values[0]):
        return False
    beyond = float(ritz.values[0]) + max(rtol, _UNSEEN) * float(np.abs(ritz.values).max())
    return miss_probability(run, beyond, size) <= 1 - CONFIDENCE
