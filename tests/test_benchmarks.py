"""The benchmarks' driver runs from end to end, and the tables of docs/performance.md come from the documents alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pyhessian import hessian as PyHessian
from torch import nn

from benchmarks import peers, run, tables
from benchmarks.clock import Answer, Contender, Lap, Race, race, spread
from benchmarks.outcome import SCHEMA, Bar, Outcome, Row, fastest, row, weighted

ROOT = Path(__file__).resolve().parents[1]

PAGE = "# Speed\n\n<!-- bench:bars -->\nold\n<!-- /bench:bars -->\n\nprose\n\n<!-- bench:{0} -->\n<!-- /bench:{0} -->\n"


def document(name: str = "top_eigenvalue", scale: str = "full", **changes: Any) -> dict[str, Any]:
    rows = [
        Row("landscape", "Lanczos", 3, *[spread([24.0, 25.0, 30.0])] * 4, products=9, value=95.854, error=2e-6),
        Row("peer", "power iteration", failed="RuntimeError: no | such\nthing"),
    ]
    bars = [Bar("twice as fast", "at least", 2.0, 1.5, aim=4.0), Bar("small", "at most", 2.0, 1.5)]
    outcome = Outcome("A title", "a network", 512, rows=rows, bars=bars, remarks=["A remark."])
    return {
        "schema": SCHEMA,
        "benchmark": name,
        "scale": scale,
        "fallback": False,
        **outcome.to_dict(),
        "machine": {"processor": "a processor", "cores": 2, "threads": 1, "load": 0.1},
        "versions": {"torch": "2.13.0", "python": "3.11.0"},
        "date": "2026-01-01",
        "command": "python -m benchmarks.run top_eigenvalue --full",
        **changes,
    }


def write(results: Path, *documents: dict[str, Any]) -> None:
    for one in documents:
        folder = results / one["scale"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{one['benchmark']}.json").write_text(json.dumps(one))


def test_tables_come_from_the_documents(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("top_eigenvalue"))
    write(tmp_path / "results", document())
    tables.write_page(page, tmp_path / "results")
    text = page.read_text()
    assert "| landscape | Lanczos | 25.0 (24.0–30.0) |" in text
    assert "95.854" in text
    assert "2.0e-06" in text
    assert r"| peer | power iteration | failed | " in text
    assert r"RuntimeError: no \| such thing" in text
    assert "| twice as fast | ≥ 2 (aim 4) | 1.50 | **not met: 1.50** | full, 512 images |" in text
    assert "| small | ≤ 2 | 1.50 | met | full, 512 images |" in text
    assert "A remark." in text
    assert "prose" in text
    assert "old" not in text
    tables.write_page(page, tmp_path / "results")
    assert page.read_text() == text  # once filled, filled again to the same


def test_the_full_run_goes_before_the_short_one(tmp_path: Path) -> None:
    write(tmp_path, document(scale="short", samples=1), document(scale="full"), document("analyze", "short", samples=2))
    found = tables.read_results(tmp_path)
    assert {name: d["samples"] for name, d in found.items()} == {"top_eigenvalue": 512, "analyze": 2}


def test_a_document_of_another_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path, document(schema="other/1"))
    with pytest.raises(ValueError, match="other/1"):
        tables.read_results(tmp_path)


def test_the_page_has_a_place_for_every_benchmark_and_shows_the_results_that_are_kept() -> None:
    text = run.PAGE.read_text()
    for name in ("bars", *run.NAMES):
        assert text.count(f"<!-- bench:{name} -->") == text.count(f"<!-- /bench:{name} -->") == 1
    on_gpus = tables.read_results(run.RESULTS, (tables.GPU,))
    assert tables.fill(text, tables.read_results(run.RESULTS), on_gpus) == text, "python -m benchmarks.run --tables"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (25.0, "25.0"),
        (0.123456, "0.123"),
        (1234.5, "1,234"),
        (1e-7, "1e-07"),
        (99.96, "100.0"),
        (-1.5, "-1.50"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert tables.number(value) == shown


def test_a_contender_that_raises_is_out_and_the_others_go_on() -> None:
    def broken(r: int) -> Answer:
        if r == 1:
            raise RuntimeError("first line\nsecond line")
        return Answer(1.0)

    order: list[str] = []
    contenders = [
        Contender("a", "", broken, warm=lambda: order.append("warm")),
        Contender("b", "", lambda r: Answer(float(r))),
        Contender("c", "", lambda r: Answer(float(r)), repeats=1),
    ]
    a, b, c = race(contenders, lambda: order.append("unit") or Lap(2.0, 1.0), repeats=3)
    assert order[:2] == ["unit", "warm"]
    assert (a.failed, len(a.laps)) == ("RuntimeError: first line", 1)
    assert [answer.value for answer in b.answers] == [0.0, 1.0, 2.0]
    assert (b.failed, len(c.laps)) == (None, 1)
    assert row(a).failed == "RuntimeError: first line"
    assert row(a).ratio is None


def test_a_ratio_is_the_time_over_the_unit_beside_it_and_is_scaled() -> None:
    one = Race(Contender("a", "", lambda r: Answer()), [Lap(8.0, 6.0), Lap(3.0, 3.0)], [Lap(2.0, 1.0), Lap(1.0, 1.0)])
    one.answers = [Answer(9.0, products=4), Answer(11.0, products=4)]
    found = row(one, scale=0.5, reference=10.0)
    assert found.ratio == {"median": 1.75, "min": 1.5, "max": 2.0}
    assert found.cpu_ratio == {"median": 2.25, "min": 1.5, "max": 3.0}
    assert (found.products, found.value) == (2.0, 10.0)
    assert found.error == pytest.approx(0.1)


def test_parts_timed_apart_add_up_repeat_by_repeat() -> None:
    def part(*laps: Lap, failed: str | None = None) -> Race:
        return Race(Contender("a", "", lambda r: Answer()), list(laps), [Lap(2.0, 4.0)] * len(laps), failed=failed)

    parts = [part(Lap(2.0, 4.0), Lap(4.0, 4.0)), part(Lap(20.0, 8.0), Lap(40.0, 16.0))]
    found = weighted("a", "both", parts, (0.5, 0.1))
    assert found.ratio == {"median": 2.25, "min": 1.5, "max": 3.0}
    assert found.cpu_ratio is not None
    assert found.cpu_ratio["max"] == pytest.approx(0.9)
    assert found.repeats == 2
    assert weighted("a", "both", [*parts, part(failed="no")], (1, 1, 1)).failed == "no"


def test_bars_compare_medians_and_say_nothing_of_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.outcome.judge", lambda: "cpu")
    slow, quick = (Row(who, "", ratio=spread([9.0]), cpu_ratio=spread([cpu])) for who, cpu in (("s", 6.0), ("q", 2.0)))
    failed = Row("f", "", failed="ValueError: no")
    assert fastest([slow, failed, quick]) is quick
    assert fastest([failed]) is None
    assert Bar.quotient("", slow, quick, 3.0).met is True
    assert Bar.quotient("", slow, quick, 3.1).met is False
    missing = Bar.quotient("", failed, quick, 2.0)
    assert (missing.met, missing.note) == (None, "ValueError: no")
    assert Bar.row("", slow, 6.0).met is True


def test_one_benchmark_from_end_to_end(tmp_path: Path) -> None:
    """The driver as it is called, in its smallest form: a document with what it takes to judge the numbers."""
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("fisher_rao"))
    smallest(tmp_path, page, "fisher_rao")
    found = json.loads((tmp_path / "smallest" / "fisher_rao.json").read_text())
    assert found["schema"] == SCHEMA
    assert found["versions"]["torch"]
    assert found["machine"].keys() >= {"processor", "cores", "threads", "load"}
    assert found["fallback"] is True
    assert found["processor_seconds"] > 0
    assert str(ROOT) not in json.dumps(found)
    ours, _, curvlinops, _ = found["rows"]
    assert 0 < ours["cpu_ratio"]["min"] <= ours["cpu_ratio"]["median"] <= ours["cpu_ratio"]["max"]
    assert curvlinops["error"] < 1e-4  # two implementations, one number


def test_where_pyhessians_trace_stops_is_told_from_its_probes() -> None:
    """With PyHessian itself: the same seed gives the same probes whatever the tolerance."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, y = nn.Linear(6, 3), torch.randn(30, 6), torch.randint(3, (30,))
        engine = PyHessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        found = []
        for seed in range(6):
            torch.manual_seed(seed)
            whole = engine.trace(maxIter=40, tol=0.0)
            torch.manual_seed(seed)
            found.append((whole, len(engine.trace(maxIter=40, tol=2e-3))))
    peers.release(engine)
    stops = peers.pyhessian_stops(torch.tensor([whole for whole, _ in found], dtype=torch.float64), tolerance=2e-3)
    assert stops.tolist() == [count for _, count in found]
    assert len(set(stops.tolist())) > 3
    assert peers.pyhessian_stops(torch.tensor([[-1.0, -5.0, 4.0]])).tolist() == [2]


@pytest.mark.slow
def test_every_benchmark_from_end_to_end(tmp_path: Path) -> None:
    smallest(tmp_path, tmp_path / "none.md")
    for name in run.NAMES:
        found = json.loads((tmp_path / "smallest" / f"{name}.json").read_text())
        assert found["skipped"] or (found["rows"] and found["bars"])
        assert not [r["failed"] for r in found["rows"] if r["who"] == "landscape" and r["failed"]]


def smallest(results: Path, page: Path, *names: str) -> None:
    command = [sys.executable, "-m", "benchmarks.run", *names, "--smallest", "--threads", "1"]
    command += ["--results", str(results), "--page", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
