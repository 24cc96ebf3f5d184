"""The Krylov run that several measures of an analysis share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from landscape.config.analysis import AnalysisSettings
from landscape.measures import (
    DEFLATION_TOP,
    MEASURES,
    Spectrum,
    compute_spectrum,
    deflation_steps,
    eigenvalue_steps,
)
from landscape.problem import Problem


class SharedSpectrum:
    """The one Krylov run of an analysis: made when the first measure asks for it, let go after the last that does."""

    def __init__(self, problem: Problem, settings: AnalysisSettings, names: Sequence[str]) -> None:
        self._waiting = {name for name in names if MEASURES[name].krylov is not None}
        wanted = {MEASURES[name].krylov for name in self._waiting}
        self._problem, self._settings = problem, settings
        deflated = deflation_steps(problem, settings.budget) if "deflation" in wanted else 1
        self._fewest = deflated if deflated == problem.size else 1
        self._most = max(deflated, eigenvalue_steps(problem, settings.budget) if "eigenvalue" in wanted else 1)
        self._top = max(settings.top, DEFLATION_TOP) if "deflation" in wanted else settings.top
        self._spectrum: Spectrum | None = None

    def get(self, on_progress: Callable[[str, float], None] | None) -> Spectrum:
        """The spectrum, with `on_progress` to hear of its steps where it is not there yet."""
        if self._spectrum is None:
            settings = self._settings
            self._spectrum = compute_spectrum(
                self._problem,
                fewest=self._fewest,
                most=self._most,
                top=self._top,
                rtol=settings.rtol,
                seed=settings.seed,
                hvp=settings.hvp,
                on_progress=on_progress,
            )
        return self._spectrum

    def let_go(self, name: str) -> None:
        """The measure `name` is done: the basis and the graphs are kept only while another waits for them."""
        self._waiting.discard(name)
        if not self._waiting:
            self._spectrum = None
