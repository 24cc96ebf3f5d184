"""The part on a study: which measure goes with how well networks do, how surely, and what chance alone would do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscape.plots.style import svg
from landscape.report.blocks import Block, Cell, Column, Fact, Facts, Figures, Heading, Part, Prose, Row, Shown, Table
from landscape.report.entries import about
from landscape.study.chance import chance_r2
from landscape.study.correlation import Correlation
from landscape.workflows.correlate import Correlations
from landscape.workflows.correlate_figure import correlation_figures
from landscape.workflows.correlate_words import interval, margin_words, remarks, two

TALLEST = 9.2
"""Inches of a figure."""

_READ = (
    "R² is that of the least-squares line of the {target} on {of}; slope its sign; Kendall is τ-b. Brackets are 95 % "
    "bootstrap intervals over the networks."
)
_HYPER = (
    " Granulated: Kendall's τ among networks that differ in one hyperparameter alone. Sign error: how often such a "
    "change moves measure and target against the slope, and in the worst environment; 0.5 is chance."
)


def study_part(found: Correlations, *, key: str = "study", origin: Sequence[Fact] = ()) -> Part:
    """The part on correlations; `origin` says where they were read from."""
    whole = found.whole()
    inner = [one for one in found.found if one.group]
    granulated = bool(found.axes)
    log = {one.log for one in whole}
    of = "the logarithm of the measure" if log == {True} else "the measure" if log == {False} else "each"
    blocks: list[Block] = [Facts(origin)] if origin else []
    blocks.append(Prose(_what(found)))
    blocks.append(Prose(_chance(whole)))
    blocks.append(_table(whole, granulated=granulated))
    blocks.append(Prose(_READ.format(target=found.target, of=of) + (_HYPER if granulated else ""), "small"))
    blocks += [Prose(remark.text, "warning" if remark.warns else "small") for remark in remarks(found)]
    if found.margins is not None:
        blocks.append(Prose(_sentence(margin_words(found.margins)), "small"))
    if inner:
        blocks += [Heading(2, "Substructures by themselves", f"{key}-groups"), _table(inner, granulated=granulated)]
    if any(one.line is not None for one in whole):
        alt = f"Scatter plots of each measure against the {found.target}, with lines and bands."
        drawn = correlation_figures(found, tallest=TALLEST)
        caption = f"Each measure against the {found.target}."
        blocks.append(Figures([Shown(svg(figure).decode(), caption, alt) for figure in drawn]))
    return Part(f"Which measure goes with the {found.target}?", key, blocks, summary=_line(found))


def _what(found: Correlations) -> str:
    hyper = f" They vary in {', '.join(found.axes)}." if found.axes else ""
    return f"The {found.target} of {len(found.names)} networks, held against each measure.{hyper}"


def _chance(whole: Sequence[Correlation]) -> str:
    """What unrelated numbers would reach, and which measures reach more."""
    used = [one for one in whole if one.line is not None]
    if not used:
        return "No measure could be correlated."
    n = max(one.n for one in used)
    line = chance_r2(n)
    above = [about(one.measure).title for one in used if one.line is not None and one.line.r2 > chance_r2(one.n)]
    told = f"{len(above)} of {len(used)} measures do" if above else f"none of {len(used)} measures does"
    names = f" ({', '.join(above)})" if 0 < len(above) <= 6 else ""
    luck = 1 - 0.95 ** len(used)
    text = (
        f"Of {n} networks a measure that has nothing to do with the target exceeds an R² of {two(line)} once in twenty "
    )
    text += f"times; {told}{names}."
    if len(used) > 1:
        text += (
            f" Of {len(used)} measures that are independent of the target and of each other one or more would with a "
        )
        text += f"probability of {100 * luck:.0f} %."
    return text


def _table(found: Sequence[Correlation], *, granulated: bool) -> Table:
    """A row a measure; of substructures a row each, below a row with the name of their measure."""
    several = len({one.n for one in found if one.line is not None}) > 1
    heads = ["n"] if several else []
    heads += ["R²", "95 %", "slope", "Pearson", "Spearman", "Kendall", "95 %"]
    heads += ["granulated", "sign error", "worst"] if granulated else []
    rows: list[Row] = []
    last = ""
    for one in found:
        if one.group and one.measure != last:
            last = one.measure
            rows.append([Cell(about(one.measure).title, "strong")])
        rows.append(_row(one, len(heads), granulated, several))
    return Table([Column("", "text", 1.0), *(Column(head, "right") for head in heads)], rows, small=True)


def _row(one: Correlation, width: int, granulated: bool, several: bool) -> Row:
    title = one.group or about(one.measure).title
    if one.line is None:
        return [title, Cell("refused", "quiet"), *[""] * (width - 1)]
    c, i = one.coefficients, one.intervals
    cells = [
        two(one.line.r2),
        interval(i.r2.low, i.r2.high),
        "+" if one.line.slope > 0 else "−",
        two(c.pearson),
        two(c.spearman),
        two(c.kendall),
        interval(i.kendall.low, i.kendall.high),
    ]
    if granulated:
        cells += [two(one.granulated.psi), two(one.sign_error.mean), two(one.sign_error.worst)]
    return [title, *([str(one.n)] if several else []), *cells]


def _line(found: Correlations) -> str:
    """The measure with the largest R², for the contents."""
    fitted = [(one.line.r2, one) for one in found.whole() if one.line is not None]
    if not fitted:
        return f"{len(found.names)} networks"
    r2, best = max(fitted, key=lambda pair: pair[0])
    i = best.intervals.r2
    bracket = "" if math.isnan(i.low) else f" {interval(i.low, i.high)}"
    return f"{len(found.names)} networks; largest R² {two(r2)}{bracket}, {about(best.measure).title.lower()}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
