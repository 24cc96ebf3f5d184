"""What a launcher of processes (torchrun, Slurm, ours) says in the environment of each. Knows no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process as one of several.

    A RANK without a WORLD_SIZE, or variables that hold no numbers, are some other program's.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return environment["RANK"].isdecimal() and _count(environment["WORLD_SIZE"]) > 1
    # a batch script itself has SLURM_NTASKS too, but only srun makes a step with several tasks
    in_step = "SLURM_STEP_ID" in environment and environment.get("SLURM_PROCID", "").isdecimal()
    return in_step and _slurm_size(environment) > 1


def own_number(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process, from 0, among those that were launched; 0 where it is alone."""
    if not launched(environment):
        return 0
    return int(environment["RANK"] if "RANK" in environment else environment["SLURM_PROCID"])


def _slurm_size(environment: Mapping[str, str]) -> int:
    return _count(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1")))


def _count(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def slurm_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would set, from what Slurm sets: every task of a step finds the same address and port."""
    job = int(environment.get("SLURM_JOB_ID", "0"))
    step = environment.get("SLURM_STEP_ID", "0")
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_JOB_NODELIST", "localhost"))
    size = _slurm_size(environment)
    per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", ""))
    found = {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": environment.get("MASTER_ADDR", first_host(nodes)),
        # two steps of a job at the same time need ports of their own; below the range of passing connections
        "MASTER_PORT": environment.get("MASTER_PORT", str(12000 + (job + 97 * int(step or 0)) % 20000)),
    }
    if "," not in per_node and per_node:  # the same on every node: 4 or 4(x2)
        found["LOCAL_WORLD_SIZE"] = per_node.partition("(")[0]
    return found


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: `gpu[003-007,12],cpu1` gives `gpu003`."""
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    numbers, _, after = rest.partition("]")
    suffix = after.split(",")[0]
    return head + numbers.split(",")[0].split("-")[0] + suffix
