"""The tables of docs/performance.md, from the results as JSON and from nothing else.

    <!-- bench:NAME --> ... <!-- /bench:NAME -->   is replaced by the table of that benchmark,
    <!-- bench:bars --> ... <!-- /bench:bars -->   by all demands and whether they are met.
    <!-- gpu:NAME --> and <!-- gpu:bars -->        the same of the runs with --device cuda.

Of a benchmark that was run both ways the full run is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.outcome import SCHEMA
from landscape.files import write_atomically

SCALES = ("full", "short")
GPU = "gpu"
_MARKED = re.compile(r"(<!-- (bench|gpu):(\w+) -->\n).*?(<!-- /\2:\3 -->)", re.DOTALL)

Document = Mapping[str, Any]


def write_page(page: Path, results: Path) -> None:
    """Put the tables of `results` between the markers of `page`; what else it says stays."""
    text = fill(page.read_text(), read_results(results), read_results(results, (GPU,)))
    write_atomically(page, text.encode())


def read_results(results: Path, folders: Sequence[str] = SCALES) -> dict[str, Document]:
    """The documents by the benchmark's name; the fullest of each.

    Raises:
        ValueError: a file is of another schema.
    """
    found: dict[str, Document] = {}
    for scale in folders:
        for path in sorted((results / scale).glob("*.json")):
            document = json.loads(path.read_text())
            if document.get("schema") != SCHEMA:
                raise ValueError(f"{path.name}: expected schema {SCHEMA}, got {document.get('schema')!r}")
            found.setdefault(document["benchmark"], document)
    return found


def fill(text: str, of_cpus: Mapping[str, Document], of_gpus: Mapping[str, Document] = MappingProxyType({})) -> str:
    """`text` with every marked place filled."""

    def filled(match: re.Match[str]) -> str:
        name, documents = match[3], of_gpus if match[2] == GPU else of_cpus
        if name == "bars":
            body = bars_table(documents)
        elif name in documents:
            body = benchmark_table(documents[name])
        else:
            body = "Not measured yet.\n"
        return f"{match[1]}\n{body}\n{match[4]}"

    return _MARKED.sub(filled, text)


def benchmark_table(document: Document) -> str:
    """Caption, rows and remarks of one benchmark."""
    lines = [_caption(document), ""]
    if document["skipped"]:
        return "\n".join([*lines, f"Skipped: {document['skipped']}.", ""])
    header = ("who", "what", "wall", "CPU", "products", "counted", "seconds", "value", "error", "note")
    rows = [_cells(row) for row in document["rows"]]
    on_gpu = document["machine"].get("device", "cpu") != "cpu"  # where the CPU's time says nothing
    kept = [i for i in range(len(header)) if i < 3 or any(row[i] for row in rows) if not (on_gpu and i == 3)]
    lines += _table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])
    lines += [
        "",
        f"Wall{'' if on_gpu else ' and CPU'}: times in units of {document['unit']}, median and range over the repeats.",
        "",
    ]
    return "\n".join([*lines, *(f"{remark}\n" for remark in document["remarks"])])


def bars_table(documents: Mapping[str, Document]) -> str:
    """Every demand with what was measured."""
    rows = []
    for document in documents.values():
        size = f"{document['scale']}, {document['samples']:,} images" + (
            ", stand-in network" if document["fallback"] else ""
        )
        if document["skipped"]:
            rows.append([document["title"], "", "", f"not measured: {document['skipped']}", size])
        for bar in document["bars"]:
            sign = "≥" if bar["sense"] == "at least" else "≤"
            aim = f" (aim {bar['aim']:g})" if bar["aim"] else ""
            measured = "" if bar["measured"] is None else number(bar["measured"])
            by = f" ({bar['judged_by']} time)" if bar["judged_by"] else ""
            rows.append([bar["text"], f"{sign} {bar['limit']:g}{aim}", measured + by, _verdict(bar), size])
    return "\n".join(_table(("demand", "bar", "measured", "", "run"), rows)) + "\n"


def _verdict(bar: Document) -> str:
    if bar["met"] is None:
        return f"not measured: {bar['note']}" if bar["note"] else "not measured"
    verdict = "met" if bar["met"] else f"**not met: {number(bar['measured'])}**"
    return f"{verdict}; {bar['note']}" if bar["note"] else verdict


def _caption(document: Document) -> str:
    machine, versions = document["machine"], document["versions"]
    threads = machine["threads"]
    if machine.get("device", "cpu") != "cpu":
        return (
            f"*{document['samples']:,} images: {document['subject']}. {machine['device']}, float32; torch "
            f"{versions['torch']}, Python {versions['python']}; {document['date']}; `{document['command']}`.*"
        )
    return (
        f"*{document['scale'].capitalize()} run, {document['samples']:,} images: {document['subject']}. "
        f"{machine['processor']}, {threads} thread{'s' if threads > 1 else ''} of {machine['cores']} cores, "
        f"load {machine['load']} at the start; torch {versions['torch']}, Python {versions['python']}; "
        f"{document['date']}; `{document['command']}`.*"
    )


def _cells(row: Document) -> list[str]:
    if row["failed"]:
        return [row["who"], row["what"], "failed", "", "", "", "", "", "", _plain(row["failed"])]
    return [
        row["who"],
        row["what"],
        _range(row["ratio"]),
        _range(row["cpu_ratio"]),
        _number_or_empty(row["products"]),
        _number_or_empty(row["counted"]),
        _number_or_empty(row["seconds"]["median"] if row["seconds"] else None),
        _number_or_empty(row["value"], 5),
        "" if row["error"] is None else f"{row['error']:.1e}",
        _plain(row["note"]),
    ]


def _range(values: Mapping[str, float] | None) -> str:
    if values is None:
        return ""
    middle = number(values["median"])
    if values["min"] == values["max"]:
        return middle
    return f"{middle} ({number(values['min'])}–{number(values['max'])})"


def _number_or_empty(value: float | None, digits: int = 3) -> str:
    return "" if value is None else number(value, digits)


def number(value: float, digits: int = 3) -> str:
    """A number of `digits` significant digits, never in powers of ten where a page can hold it."""
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}g}"
    places = max(0, digits - len(str(int(abs(value)))) + (abs(value) < 1))
    return f"{value:,.{places}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
