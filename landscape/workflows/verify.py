"""From a checkpoint to what holds of it: load, take few samples, check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from landscape.data.subsets import choose_samples
from landscape.distributed import parse_devices
from landscape.errors import OptionError
from landscape.float32_products import full_products
from landscape.workflows.out_of_memory import memory_errors
from landscape.workflows.source import Source
from landscape.workflows.verification import OnCheck, Verification, verify

SAMPLES = 64  # what is checked where nothing is said


@full_products()
def verify_checkpoint(
    path: Path | str,
    *,
    checks: Sequence[str] = (),
    source: Source | None = None,
    split: str = "train",
    samples: str | None = None,
    bn: Literal["eval", "train"] = "eval",
    seed: int = 0,
    rtol: float = 0.05,
    budget: float = 200.0,
    device: str = "auto",
    batch_size: int | None = None,
    on_check: OnCheck | None = None,
) -> Verification:
    """Check the numbers of a checkpoint's network on a few samples; see `landscape.workflows.verification.verify`.

    Args:
        path: the checkpoint.
        checks: names of `CHECKS`; all if empty.
        source: where the network and the data come from, as for `analyze_checkpoint`.
        split: of the data.
        samples: N drawn by the seed, first:N, or all; by default 64, or all of fewer.
        bn: which statistics normalise.
        seed: of samples, directions and probes.
        rtol: to which estimates are driven.
        budget: gradient-equivalents at most for each of them.
        device: where to compute: cpu, cuda:0, or auto.
        batch_size: samples in memory at once.
        on_check: hears of the progress.

    Raises:
        LandscapeError: what is wrong with the file, the data or the options.
    """
    if not 0 < rtol < 1:
        raise OptionError(f"rtol: expected a value between 0 and 1, got {rtol}.")
    if not budget > 0:
        raise OptionError(f"budget: expected a value greater than 0, got {budget}.")
    names = parse_devices(device).names
    if len(names) > 1 and device != "auto":
        raise OptionError(f"device {device!r} is {len(names)} processes, and checks run in one; name one device.")
    with memory_errors(batch_size):
        problem = (source or Source()).problem(
            path,
            split=split,
            samples=samples,
            seed=seed,
            dtype="float64",
            device=names[0],
            bn=bn,
            batch_size=batch_size,
        )
        if samples is None and len(problem) > SAMPLES:
            problem = problem.choose(choose_samples(len(problem), str(SAMPLES), seed))
        return verify(problem, checks, seed=seed, rtol=rtol, budget=budget, on_check=on_check)
