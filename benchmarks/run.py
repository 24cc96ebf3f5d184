"""The driver: `python -m benchmarks.run [NAME...] [--full]` measures, writes JSON, and fills docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.context import Context, Scale
from benchmarks.outcome import SCHEMA, Outcome
from benchmarks.subject import ROOT, Subject, choose_subject, stand_in
from benchmarks.tables import GPU, write_page
from landscape.files import write_atomically
from landscape.float32_products import full_products

NAMES = (
    "top_eigenvalue",
    "hessian_trace",
    "hessian_product",
    "connectivity",
    "fisher_rao",
    "jacobian_and_margins",
    "analyze",
    "training",
    "processes",
)
GPU_NAMES = (*(name for name in NAMES if name != "processes"), "networks")
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
_IMAGES = {"smallest": 64, "short": 2_048, "full": 10_000}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, all by default; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    failures: list[str] = []
    if not given.tables:
        scale: Scale = "full" if given.full else "smallest" if given.smallest else "short"
        device = torch.device(given.device)
        subject = stand_in(epochs=1) if scale == "smallest" else choose_subject(_IMAGES[scale], given.cifar10)
        subject = subject.to(device)
        names = given.names or (GPU_NAMES if device.type == "cuda" else NAMES)
        torch.manual_seed(0)
        failures = [name for name in names if not _one(name, subject, scale, given.results)]
        print(f"{_processor_seconds():,.0f} s of processor time in all", file=sys.stderr)
    if given.page.is_file():
        write_page(given.page, given.results)
    return 1 if failures else 0


def _one(name: str, subject: Subject, scale: Scale, results: Path) -> bool:
    """Run a benchmark and write its document; False, with the traceback shown, where ours failed: the rest goes on."""
    start, spent = time.perf_counter(), _processor_seconds()

    def say(what: str) -> None:
        print(f"[{time.perf_counter() - start:6.0f} s] {name}: {what}", file=sys.stderr, flush=True)

    say("begins")
    about = machine.describe(subject.device)
    context = Context(subject, scale, say, results / "references.json", subject.device)
    try:
        with full_products():  # PyTorch rounds convolutions on a GPU by default; here nobody does, unless a row says so
            outcome: Outcome = importlib.import_module(f"benchmarks.{name}").run(context)
    except Exception:
        traceback.print_exc()
        return False
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "benchmark": name,
        "scale": scale,
        "fallback": subject.fallback,
        **outcome.to_dict(),
        **about,
        "command": _command(name, scale, context),
        "took": round(time.perf_counter() - start, 1),
        "processor_seconds": round(_processor_seconds() - spent, 1),
    }
    write_atomically(
        results / (GPU if context.on_gpu else scale) / f"{name}.json", (json.dumps(document, indent=2) + "\n").encode()
    )
    for row in outcome.rows:
        shown = f"failed: {row.failed}" if row.failed else f"{row.ratio['median']:.2f}" if row.ratio else ""
        say(f"{row.who}, {row.what}: {shown}")
    say(f"skipped: {outcome.skipped}" if outcome.skipped else "done")
    return True


def _processor_seconds() -> float:
    """What this process and those that it started and that ended have taken of the processors."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _command(name: str, scale: Scale, context: Context) -> str:
    option = {"full": " --full", "short": "", "smallest": " --smallest"}[scale]
    return f"python -m benchmarks.run {name}{option}{' --device cuda' if context.on_gpu else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[[], *NAMES, *GPU_NAMES], help=f"of {', '.join(NAMES)}, networks"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="the size of the bars; an hour or more")
    size.add_argument("--smallest", action="store_true", help="an untrained network and a few images, for tests")
    size.add_argument("--tables", action="store_true", help="measure nothing: write the page from the results")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where everybody computes")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument(
        "--cifar10", type=Path, help="the folder of cifar-10-batches-py; by default ../shared is unpacked"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON files go")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are written")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
