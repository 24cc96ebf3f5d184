"""The figure of an invariance study. Loads no torch."""

from __future__ import annotations

from matplotlib.figure import Figure

from landscape.catalog import CATALOG
from landscape.numbers import format_error
from landscape.plots.invariance import RatioPanel, invariance_figure
from landscape.workflows.invariance_document import Finding, Invariance, knows

_HEADINGS = {
    "function": "depend on the function alone",
    "relative": "on relative changes alone",
    "parameters": "on the parameters",
    "unstated": "on what is not stated",
}
_TITLES = {"rho": "ρ: units", "scale": "weights before BN", "fold": "BN folded"}
_UNITS = {"rho": "units", "scale": "filters", "fold": "layers"}


def study_figure(study: Invariance) -> Figure:
    """Ratios of all measures under all transformations."""
    names = study.measures
    kinds = [knows(name) for name in names]
    headings = [_HEADINGS[kind] if not place or kinds[place - 1] != kind else "" for place, kind in enumerate(kinds)]
    findings = {(f.measure, f.transform): f for f in study.findings()}
    panels = [
        _panel(study, transform, [findings.get((name, transform)) for name in names]) for transform in study.transforms
    ]
    rows = [CATALOG[name].title if name in CATALOG else name for name in names]
    seen = any(change.ratio_stderr > 0.1 * change.ratio for finding in findings.values() for change in finding.changes)
    return invariance_figure(
        rows, headings, panels,
        label="value ÷ original value (log scale)", note="Bars: one standard error of the ratio." if seen else "",
    )  # fmt: skip


def _panel(study: Invariance, transform: str, findings: list[Finding | None]) -> RatioPanel:
    variants = [variant for variant in study.variants if variant.transform == transform]
    change = max(variant.change for variant in variants)
    first = variants[0]
    counted = f"{first.units:,}" if first.units == first.of else f"{first.units:,} of {first.of:,}"
    ratios, errors, verdicts = [], [], []
    for finding in findings:
        changes = () if finding is None else finding.changes
        ratios.append([one.ratio for one in changes])
        errors.append([one.ratio_stderr for one in changes])
        verdicts.append(
            "" if finding is None or (finding.found == "moved" and not finding.contradicts) else finding.found
        )
    return RatioPanel(
        title=_TITLES[transform],
        words=[
            f"{counted} {_UNITS[transform]},",
            f"outputs ± {format_error(change)}" if change else "outputs the same",
        ],
        marks=["folded" if variant.c is None else f"c = {variant.c:g}" for variant in variants],
        ratios=ratios,
        errors=errors,
        verdicts=verdicts,
        warned=frozenset(row for row, f in enumerate(findings) if f is not None and f.contradicts),
    )
