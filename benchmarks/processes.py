"""One process against two, of one thread each, on the same images."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

from benchmarks import peers
from benchmarks.clock import spread
from benchmarks.context import Context
from benchmarks.outcome import Bar, Outcome, Row
from benchmarks.subject import ROOT
from landscape_cli.analyze import analyze

TITLE = "Two processes against one"
_MEASURES = "hessian_trace,top_eigenvalues,connectivity"


def run(context: Context) -> Outcome:
    """`landscape analyze --devices N` in processes of their own; the seconds are those of the measures."""
    images = min(len(context.subject), context.pick(64, 512, 2_048))
    outcome = Outcome(TITLE, context.subject.name, images, unit="one process")
    known = inspect.signature(analyze).parameters
    if "devices" not in known:
        outcome.skipped = "`landscape analyze` has no --devices"
        return outcome
    if (os.cpu_count() or 1) < 2:
        outcome.skipped = "one core only"
        return outcome
    fresh = ["--no-cache"] if "no_cache" in known or "cache" in known else []
    laps: dict[int, list[float]] = {1: [], 2: []}
    values: dict[int, dict[str, float]] = {}
    for _ in range(context.pick(1, 1, 3)):
        for count, seconds in laps.items():
            context.say(f"{count} process{'es' if count > 1 else ''}")
            document = _analysis(context, images, count, fresh)
            seconds.append(document["total"]["seconds"])
            values[count] = {name: one["value"] for name, one in document["measures"].items()}
    ratios = [two / one for one, two in zip(laps[1], laps[2], strict=True)]
    outcome.rows = [
        Row(peers.OURS, "1 process", len(laps[1]), spread([1.0] * len(laps[1])), seconds=spread(laps[1])),
        Row(peers.OURS, "2 processes", len(ratios), spread(ratios), seconds=spread(laps[2])),
    ]
    apart = max(abs(values[2][name] / values[1][name] - 1) for name in values[1])
    outcome.remarks = [
        f"Measures: {_MEASURES.replace(',', ', ')}; one thread a process, wall time without start-up. "
        f"Largest relative difference of a value: {apart:.1g} (float32)."
    ]
    efficiency = 1 / (2 * spread(ratios)["median"])
    outcome.bars = [Bar("two processes on two cores: efficiency", "at least", 0.85, efficiency, judged_by="wall")]
    return outcome


def _analysis(context: Context, images: int, processes: int, fresh: list[str]) -> dict:  # type: ignore[type-arg]
    subject = context.subject
    command = [sys.executable, "-m", "landscape_cli.main", "analyze", str(subject.checkpoint), *subject.options]
    command += ["--samples", f"first:{images}", "--measures", _MEASURES, "--rtol", "0.05", "--json", *fresh]
    command += ["--devices", str(processes)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    found = json.loads(done.stdout)
    return found[0] if isinstance(found, list) else found
