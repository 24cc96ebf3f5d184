"""How an analysis looks in the terminal: what a cell says of errors, convergence and what was skipped."""

import math
from dataclasses import replace

from rich.console import Console

from landscape.records import Analysis, Record
from landscape_cli.tables import analysis_tables

RECORDS = {
    "hessian_trace": Record(
        243.12345, stderr=3.2, sampling_stderr=math.nan, converged=False, cost=200.4, seconds=1.5, groups={"a": 200.0}
    ),
    "connectivity": Record(11.95, stderr=0.0, sampling_stderr=0.25, cost=1.0, groups={"a": 10.0, "b": 1.95}),
    "margin": Record.skip("the outputs are no [logits]"),
}
ANALYSIS = Analysis(
    measures=RECORDS,
    problem={"data": "digits", "split": "test", "samples": 1234, "parameters": 75002, "loss": 0.5, "accuracy": 0.9173},
    settings={"by": "layer"},
)


def shown(analysis: Analysis) -> list[str]:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(analysis_tables(analysis, "net [1].pt"))
    return [line.rstrip() for line in capture.get().splitlines()]


def cells(lines: list[str], first: str) -> list[str]:
    (line,) = [line for line in lines if line.split("│")[0].strip() == first and "│" in line]
    return [cell.strip() for cell in line.split("│")][1:]


def test_the_head_says_what_was_measured_on() -> None:
    assert shown(ANALYSIS)[:2] == [
        "net [1].pt",
        "digits test, 1,234 samples, 75,002 parameters, loss 0.5000, accuracy 91.73 %",
    ]


def test_a_row_says_value_errors_convergence_and_cost() -> None:
    lines = shown(ANALYSIS)
    assert cells(lines, "hessian_trace") == ["243.12", "3.2", "–", "no", "200", "1.50"]
    assert cells(lines, "connectivity")[:4] == ["11.950", "exact", "0.25", "yes"]


def test_groups_are_rows_and_an_absent_one_is_empty() -> None:
    lines = shown(ANALYSIS)
    assert cells(lines, "a") == ["200.0", "10.00"]
    assert cells(lines, "b") == ["", "1.950"]


def test_what_was_skipped_gives_its_reason() -> None:
    lines = shown(ANALYSIS)
    assert cells(lines, "margin")[0] == "skipped"
    assert lines[-1] == "margin was skipped: the outputs are no [logits]"


def test_eigenvalues_come_with_their_residuals() -> None:
    record = Record(
        9.5,
        stderr=0.0,
        details={"eigenvalues": [9.5, 4.2], "residuals": [0.01, 0.2], "most_negative": -1.0},
    )
    lines = shown(replace(ANALYSIS, measures={"top_eigenvalues": record}))
    assert "eigenvalues and residuals: 9.500 ± 0.010, 4.20 ± 0.20; lowest Ritz value −1.000" in lines


def test_many_measures_by_group_take_several_tables_and_no_name_is_cut() -> None:
    names = [f"a_measure_with_a_long_name_{number}" for number in range(9)]
    measures = {name: Record(1.0, groups={"a": 1.0}) for name in names}
    text = "\n".join(shown(replace(ANALYSIS, measures=measures)))
    assert "…" not in text
    assert all(text.count(name) == 2 for name in names)


def test_measures_of_layers_stand_apart_from_those_by_role() -> None:
    measures = {
        "hessian_trace": Record(1.0, groups={"linear.weight": 1.0}),
        "spectral_norms": Record(2.0, groups={"linear1": 2.0}),
    }
    problem = {**ANALYSIS.problem, "tensors": [{"name": "linear1.weight", "layer": "linear1"}]}
    lines = shown(replace(ANALYSIS, measures=measures, problem=problem, settings={"by": "role"}))
    heads = [line.split("┃")[0].strip() for line in lines if "┃" in line]
    assert heads == ["measure", "role", "layer"]
    assert cells(lines, "linear.weight") == ["1.000"]
    assert cells(lines, "linear1") == ["2.000"]
