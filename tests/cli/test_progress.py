"""What is shown while an analysis runs: bars in a terminal, lines elsewhere, nothing with --quiet."""

import io
import re

import pytest
from rich.console import Console

from landscape.records import Record
from landscape.workflows.events import MeasureFinished, MeasureProgress, MeasureStarted
from landscape_cli import console
from landscape_cli.progress import watch_analysis

EVENTS = [
    MeasureStarted("hessian_trace", 0, 2),
    MeasureProgress("hessian_trace", 50.0, 200.0, "240 ± 9"),
    MeasureFinished("hessian_trace", Record(243.1, stderr=3.2, seconds=1.5, converged=False)),
    MeasureStarted("margin", 1, 2),
    MeasureFinished("margin", Record.skip("no classes")),
]


def watched(*, terminal: bool, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """All that is written for `EVENTS`, without the terminal's control sequences."""
    stream = io.StringIO()
    monkeypatch.setattr(console, "messages", lambda: Console(file=stream, force_terminal=terminal, width=100))
    with watch_analysis("net.pt", quiet=quiet) as on_event:
        for event in EVENTS:
            if on_event is not None:
                on_event(event)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(terminal=False, quiet=False, monkeypatch=monkeypatch).splitlines() == [
        "net.pt",
        "  1/2 hessian_trace ...",
        "      hessian_trace: 243.1 ± 3.2, budget reached, 1.50 s",
        "  2/2 margin ...",
        "      margin: skipped",
    ]


def test_bars_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = watched(terminal=True, quiet=False, monkeypatch=monkeypatch)
    assert re.search(r"1/2 hessian_trace +━+ +243.1 ± 3.2, budget reached", text)
    assert re.search(r"2/2 margin +━+ +skipped", text)


def test_nothing_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(terminal=True, quiet=True, monkeypatch=monkeypatch) == ""
