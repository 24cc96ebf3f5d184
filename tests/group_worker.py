"""A process of the launch that `test_distributed.py` compares: every size of group computes the same problems."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from cases import case
from torch import nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from landscape import Problem, analyze
from landscape.distributed import ALONE, Group

SIZES = (2, 3, 4)
SETTINGS: dict[str, Any] = {"rtol": 0.2, "budget": 40.0, "connectivity_batch": 10, "by": "layer"}
# of what is sought at shifted weights all decisions must be the same in all processes
OPTIONS: dict[str, dict[str, Any]] = {
    "sam_sharpness": {"steps": 3, "restarts": 1},
    "asam_sharpness": {},
    "average_sharpness": {"rho": 0.5},
    "worst_sharpness": {"rho": 0.05, "steps": 3},
    "keskar_sharpness": {"epsilon": 0.05, "steps": 3},
    "pac_bayes_sigma": {"of": "loss"},
    "pac_bayes_sigma_magnitude": {"of": "loss"},
    "local_learning_coefficient": {"chains": 3, "steps": 5},
    "normalized_curvature_trace": {"layers": "all"},
    "gradient_noise_scale": {"size": 4},
}


def problems() -> Iterator[tuple[str, Problem]]:
    """N = 37 is two blocks, fewer than four processes; 101 is four, which three do not divide."""
    yield "batch norm", case("batch_norm").problem()
    yield "ignored labels", case("weighted_and_ignored").problem()
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(300, 1, 4, 4, dtype=torch.float64, generator=generator)
    labels = torch.randint(3, (300,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).double()
    whole = Problem(model, nn.CrossEntropyLoss(), (inputs, labels), batch_size=50)
    yield "a subset", whole.choose(torch.arange(0, 202, 2))
    yield "batch statistics", Problem(model, nn.CrossEntropyLoss(), (inputs, labels), bn="train")


def results(group: Group) -> dict[str, Any]:
    found = {}
    for name, problem in problems():
        batch = 128 if problem.bn == "train" else SETTINGS["connectivity_batch"]
        shared = problem.across(group)
        document = analyze(shared, ["all"], options=OPTIONS, **{**SETTINGS, "connectivity_batch": batch}).to_dict()
        about = {key: document["problem"][key] for key in ("loss", "accuracy", "processes")}
        found[name] = {"measures": document["measures"], **about}
    return found


def small_things(group: Group) -> dict[str, Any]:
    """What the group's own methods give, checked by the test."""
    gathered = group.gather({"rank": group.rank})
    return {
        "sum": group.sum(torch.full((2,), float(group.rank + 1))).tolist(),
        "array": group.sum_array(np.array([1.0, np.nan if group.rank == 1 else 0.0])).tolist(),
        "first": group.first({"rank": group.rank}),
        "gather": gathered,
        "share": list(group.share(10)),
        "meets": group.meets("here") and not (group.rank == 0 and group.meets("only the first", seconds=0.2)),
    }


def main(folder: Path) -> None:
    store, rank, _ = next(rendezvous("env://"))
    for size in SIZES:
        if rank >= size:
            continue
        names = PrefixStore(f"group of {size}", store)
        dist.init_process_group("gloo", store=names, rank=rank, world_size=size)
        group = Group(rank, size, "cpu", PrefixStore("words", names))
        found = {"small": small_things(group), **results(group)}
        (folder / f"{size}-{rank}.json").write_text(json.dumps(found))
        dist.destroy_process_group()


def alone() -> dict[str, Any]:
    return results(ALONE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
