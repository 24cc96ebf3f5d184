"""The largest Hessian eigenvalue to 1e-3 of a float64 reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks import peers, reference
from benchmarks.clock import Answer, Contender, race, whole
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, Row, fastest, row
from benchmarks.subject import Subject
from landscape.measures import top_eigenvalues

TITLE = "Top Hessian eigenvalue to 1e-3"
RTOL = 1e-3
_MOST_STEPS = 24


def run(context: Context) -> Outcome:
    """Ours certified by min(residual, residual^2/gap); the peers by their own rules, at the same tolerance."""
    subject = context.subject.first(context.pick(32, 128, 512))
    seeds = 3 if context.on_gpu else context.pick(1, 2, 5)
    few = context.pick(1, 1, 2)  # its products, and so its time, hardly change with the seed
    context.say("the float64 reference")
    truth = reference.top_eigenvalue(subject, context.references)
    problem = subject.problem()

    def ours(seed: int) -> Answer:
        record = top_eigenvalues(problem, rtol=RTOL, top=1, seed=seed)
        extra = {"certified": record.converged, "bound": record.stderr}
        return Answer(record.value, products=record.details["products"], counted=record.cost, extra=extra)

    def pyhessian(seed: int) -> Answer:
        with torch.random.fork_rng(), peers.counted_products() as count:
            torch.manual_seed(seed)
            engine = peers.pyhessian(subject)
            (value,), _ = engine.eigenvalues()
        peers.release(engine)
        return Answer(float(value), products=count["products"])

    def with_scipy(ncv: int | None) -> Callable[[int], Answer]:
        def solve(seed: int) -> Answer:
            operator, count = _counting(peers.curvlinops_hessian(subject))
            start = np.random.default_rng(seed).normal(size=operator.shape[0]).astype(np.float32)
            (value,) = eigsh(operator, k=1, which="LA", tol=RTOL, ncv=ncv, v0=start, return_eigenvectors=False)
            return Answer(float(value), products=count[0])

        return solve

    def eigenthings(seed: int) -> Answer:
        operator = peers.eigenthings_hessian(subject)
        found = peers.eigenthings().lanczos(operator, k=1, max_iter=steps[0], tol=RTOL, which="LA", seed=seed)
        return Answer(
            float(found.eigenvalues[0]), products=found.iterations, extra={"converged": bool(found.converged)}
        )

    def eigenthings_steps() -> None:
        """Its number of steps is a setting: find the fewest, for seed 0, that meet its own rule."""
        steps.append(_fewest_steps(subject))

    steps: list[int] = []
    context.say("the contenders")
    races = race(
        [
            Contender(peers.OURS, "Lanczos, certified", ours, subject.gradient_pass),
            Contender(peers.PYHESSIAN, "eigenvalues(), its default tolerance", pyhessian),
            Contender(f"{peers.CURVLINOPS} + eigsh", "tol 1e-3, ncv 20 (default)", with_scipy(None), repeats=few),
            Contender(f"{peers.CURVLINOPS} + eigsh", "tol 1e-3, ncv 10", with_scipy(10), repeats=few),
            Contender(peers.EIGENTHINGS, "lanczos(), fewest steps that meet tol 1e-3", eigenthings, eigenthings_steps),
        ],
        whole(subject.gradient_pass),
        seeds,
    )
    rows = [row(one, reference=truth) for one in races]
    outcome = Outcome(TITLE, subject.name, len(subject), rows=rows)
    outcome.remarks = [
        f"float64 reference {truth:.6f} (SciPy's eigsh on plain double backward); a repeat is a seed, "
        "`error` the largest over them.",
        "Each run is timed whole: PyHessian's with its graph, not with the copy of the network it is given.",
    ]
    outcome.bars = _bars(rows)
    return outcome


def _bars(rows: list[Row]) -> list[Bar]:
    ours, pyhessian, *others = rows
    best = fastest(others)
    named = f"the best of curvlinops + eigsh and hessian-eigenthings ({best.who})" if best else "the best other peer"
    return [
        Bar.quotient("top eigenvalue: times faster than PyHessian's eigenvalues()", pyhessian, ours, 2.0, aim=4.0),
        Bar.quotient(f"top eigenvalue: times faster than {named}", best, ours, 2.0, aim=4.0),
        Bar("top eigenvalue: largest relative error over the seeds", "at most", RTOL, ours.error),
    ]


def _counting(operator: HessianLinearOperator) -> tuple[LinearOperator, list[int]]:
    inner, count = operator.to_scipy(dtype=np.float32), [0]

    def product(v: np.ndarray) -> np.ndarray:
        count[0] += 1
        result: np.ndarray = inner.matvec(v)
        return result

    return LinearOperator(inner.shape, matvec=product, dtype=np.float32), count


def _fewest_steps(subject: Subject) -> int:
    """The steps after which hessian-eigenthings' own rule, residual < tol |theta|, first holds for seed 0."""
    operator = peers.eigenthings_hessian(subject)
    start = peers.random_block(operator.size, 1, seed=0, device=subject.device)[:, 0]
    run = peers.eigenthings().lanczos_tridiagonal(operator, start, _MOST_STEPS)
    alpha, beta = run.alphas.double().cpu().numpy(), [*run.betas.double().tolist(), run.last_beta]
    for m in range(2, len(alpha) + 1):
        values, vectors = eigh_tridiagonal(alpha[:m], np.array(beta[: m - 1]))
        if abs(beta[m - 1] * vectors[-1, -1]) < RTOL * abs(values[-1]):
            return m
    raise RuntimeError(f"its residual stays above {RTOL:g} of the eigenvalue for {_MOST_STEPS} steps")
