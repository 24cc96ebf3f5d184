"""The Krylov run on the Hessian that its eigenvalues and its spectral density share.

Legend: P parameters, m Lanczos steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape.curvature.hessian import HessianOperator
from landscape.curvature.products import Way
from landscape.linalg.exclusion import CONFIDENCE, miss_probability
from landscape.linalg.lanczos import KrylovSpace, Tridiagonal, lanczos
from landscape.linalg.operator import SymmetricOperator
from landscape.linalg.probes import gaussian
from landscape.linalg.scaled import Scaled
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
    """

    operator: SymmetricOperator
    space: KrylovSpace
    seconds: float

    def first(self, steps: int) -> Spectrum:
        """The first `steps` steps, with their share of the time."""
        steps = min(steps, self.steps)
        return Spectrum(self.operator, self.space.first(steps), self.seconds * steps / self.steps)

    @property
    def steps(self) -> int:
        """The Lanczos steps."""
        return self.space.tridiagonal.steps

    @property
    def cost(self) -> float:
        """Gradient-equivalents."""
        return WEIGHTS["hessian_product"] * self.steps


def affordable_products(budget: float) -> int:
    """The Hessian products within a budget of gradient-equivalents."""
    return int(budget / WEIGHTS["hessian_product"] + 1e-9)


def eigenvalue_steps(problem: Problem, budget: float) -> int:
    """The most steps of `top_eigenvalues`; one product is kept back for `sampling_stderr` on a subset."""
    kept = 0 if len(problem) >= problem.population else 1
    return max(1, affordable_products(budget) - kept)


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
    scale: Tensor | None = None,
    on_progress: Progress | None = None,
) -> Spectrum:
    """Run Lanczos with full reorthogonalisation until the largest eigenvalue is certain to `rtol`.

    The run stops when min(residual, residual^2/gap) <= rtol |lambda_1| and a missed eigenvalue above it by more than
    max(rtol, 5%) is excluded with 99% confidence, after more than `top` steps and no fewer than `fewest`;
    or after `most`. Where the Krylov space is invariant it goes on from a fresh vector, so that multiple eigenvalues
    are found. With `scale` (P,), the diagonal of D, the matrix is D H D in the place of H.

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

    operator: SymmetricOperator = HessianOperator(problem, way=hvp)
    if scale is not None:
        operator = Scaled(operator, scale)
    space = lanczos(
        operator,
        random(_KRYLOV),
        max(most, fewest),
        stop=enough,
        restart=lambda step: random(_RESTART, step),
    )
    return Spectrum(operator, space, time.perf_counter() - start)


def for_eigenvalues(
    problem: Problem, spectrum: Spectrum, *, top: int, rtol: float, budget: float
) -> tuple[Spectrum, bool]:
    """What `top_eigenvalues` alone would have run of it, and whether the largest eigenvalue is certain."""
    return _until_certain(problem, spectrum, eigenvalue_steps(problem, budget), top + 1, rtol)


def for_density(problem: Problem, spectrum: Spectrum, *, rtol: float, budget: float) -> Spectrum:
    """What `spectral_density` alone would have run of it."""
    most = deflation_steps(problem, budget)
    if most == problem.size:
        return spectrum.first(most)
    return _until_certain(problem, spectrum, most, DEFLATION_TOP + 1, rtol)[0]


def _until_certain(problem: Problem, spectrum: Spectrum, most: int, enough: int, rtol: float) -> tuple[Spectrum, bool]:
    most, enough = min(most, spectrum.steps), min(enough, problem.size)
    for m in range(1, most + 1):
        if _certain(spectrum.space.first(m).tridiagonal, rtol, enough, problem.size):
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
