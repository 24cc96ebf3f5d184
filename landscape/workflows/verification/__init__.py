"""The numbers of one network checked on this very network: CHECKS, name -> what is compared and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from landscape.errors import LandscapeError, OptionError, near
from landscape.problem import Problem
from landscape.workflows.verification import derivatives, sameness, spectrum, theorems
from landscape.workflows.verification.finding import Figure, Finding, Verification
from landscape.workflows.verification.subject import Subject

__all__ = ["CHECKS", "Check", "Figure", "Finding", "Verification", "verify"]

OnCheck = Callable[[str, Finding | None], None]
"""Hears the name of a check when it starts (None) and when it ended, with what it found."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: its key in the document.
        title: what must hold, in a line.
        run: finds out; raises nothing for a number that is wrong.
    """

    name: str
    title: str
    run: Callable[[Subject], Finding]


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.name: check
        for check in (
            Check("loss", "L is the loss's own mean, by plain PyTorch", derivatives.loss_is_the_own_mean),
            Check("determinism", "evaluated again, loss, gradient and Hv have the same bits", sameness.repeated),
            Check("batch_size", "the batch size changes nothing", sameness.batch_size),
            Check("sample_order", "the order of the samples changes nothing", sameness.sample_order),
            Check("gradient", "grad L is that of .backward() on a copy", derivatives.gradient_by_backward),
            Check("product", "Hv is a double backward on a copy", derivatives.product_by_double_backward),
            Check("differences", "Hv is a difference of gradients", derivatives.product_by_differences),
            Check("symmetry", "u'Hv = v'Hu", derivatives.product_is_symmetric),
            Check("trace", "the trace agrees with the density and with its layers", spectrum.trace_and_density),
            Check("top_eigenvalue", "lambda_1 agrees with ARPACK, PyHessian finds none above", spectrum.top_eigenvalue),
            Check("connectivity", "C is a loop over samples, and adds up", theorems.connectivity_by_loops),
            Check("batch_connectivity", "C_m <= C, and C_1 = C", theorems.batches_below_samples),
            Check("rescaling", "rho leaves outputs, C and Fisher-Rao norm", theorems.rescaling),
            Check("fisher_gauss_newton", "Tr F = Tr G", theorems.fisher_is_gauss_newton),
            Check("euler", "theta'F theta = k^2 E Var f (Lemma 1)", theorems.euler_identity),
        )
    }
)
"""What is checked of a network, in this order; that it is left untouched is checked around all of them."""

UNTOUCHED = "untouched"
_UNTOUCHED_TITLE = "measuring changed no weight, buffer, gradient, flag or generator"


def verify(
    problem: Problem,
    checks: Sequence[str] = (),
    *,
    seed: int = 0,
    rtol: float = 0.05,
    budget: float = 200.0,
    on_check: OnCheck | None = None,
) -> Verification:
    """Check the numbers that this project computes on a problem, each against something that does not share its code.

    Everything is computed in float64, whatever the problem's dtype, so that a difference is a mistake and no rounding.

    Args:
        problem: the problem.
        checks: names of `CHECKS`; all if empty.
        seed: of directions and probes.
        rtol: relative error to which the trace, the density and the largest eigenvalue are driven.
        budget: gradient-equivalents at most for each of these.
        on_check: hears what is checked and what was found.

    Returns:
        A finding for each check. Of one that failed it names the likely causes: what is random, what mixes samples,
        what moves buffers, which parameters are not used.

    Cost: some 300 gradient passes over the samples; take few (64 to 256).

    Raises:
        OptionError: a check is unknown, or the device has no float64.
    """
    if problem.device.type == "mps":
        raise OptionError("landscape verify needs float64, which mps has not; use --device cpu.")
    unknown = next((name for name in checks if name not in CHECKS), None)
    if unknown is not None:
        raise OptionError(f"unknown check {unknown!r}.{near(unknown, CHECKS)}")
    start = time.perf_counter()
    tell = on_check or (lambda name, finding: None)
    before = sameness.snapshot(problem)
    subject = Subject(problem.choose(dtype=torch.float64), seed=seed, rtol=rtol, budget=budget)
    found: dict[str, Finding] = {}
    for name in dict.fromkeys(checks) or CHECKS:
        check = CHECKS[name]
        tell(name, None)
        found[name] = _with_causes(_run(check, subject), subject)
        tell(name, found[name])
    tell(UNTOUCHED, None)
    found[UNTOUCHED] = sameness.untouched(Subject(problem, seed=seed, rtol=rtol, budget=budget), before)
    tell(UNTOUCHED, found[UNTOUCHED])
    about = {key: value for key, value in problem.about.items() if key != "checkpoint"}
    return Verification(
        findings=found,
        titles={**{name: check.title for name, check in CHECKS.items()}, UNTOUCHED: _UNTOUCHED_TITLE},
        problem={
            **about,
            "samples": len(problem),
            "parameters": problem.size,
            "loss_name": problem.loss_name,
            "seed": seed,
            "rtol": rtol,
            "budget": budget,
        },
        checkpoint=dict(problem.about.get("checkpoint", {})),
        seconds=time.perf_counter() - start,
    )


def _run(check: Check, subject: Subject) -> Finding:
    try:
        return check.run(subject)
    except LandscapeError as error:
        return Finding("failed", reason=str(error))
    except (RuntimeError, ValueError) as error:  # of the user's network, somewhere in torch
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding("failed", reason=f"torch fails: {words}")


def _with_causes(finding: Finding, subject: Subject) -> Finding:
    if finding.verdict != "failed":
        return finding
    return Finding(finding.verdict, finding.figures, finding.reason, tuple(subject.causes))
