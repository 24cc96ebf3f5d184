"""A folder with everything that a command line can name: runs, checkpoints, documents, tables, and damaged ones.

python tests/robustness/world.py FOLDER     makes it, to repeat in it what a test says has failed
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save_file

from landscape.config.analysis import AnalysisSettings
from landscape.config.surface import SurfaceSettings
from landscape.config.training import TrainConfig, TrainRun
from landscape.workflows.analyze import analyze_checkpoint
from landscape.workflows.surface import surface_checkpoint
from landscape.workflows.train import train

MODEL = "mlp:width=4,depth=2"

OWN_NETWORK = """
from torch import nn

def bare():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def bn():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))

def fails():
    raise KeyError("no such layer")
"""

OWN_PROBLEM = """
import torch
from torch import nn

import landscape

def problem(weights):
    model = nn.Linear(3, 2)
    x = torch.linspace(-1, 1, 60).reshape(20, 3)
    return landscape.Problem(model, nn.CrossEntropyLoss(), (x, torch.arange(20) % 2))
"""


class Hostile:
    """Pickled, it is a command that leaves a file behind where it is run."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


class _StopError(Exception):
    pass


def _stop(event: object) -> None:
    row = getattr(event, "row", None)
    if row is not None and row["epoch"] == 1:
        raise _StopError


def build(folder: Path) -> None:
    """Fill `folder`; the same files each time, but for paths and seconds in them."""
    config = TrainConfig(model=MODEL, epochs=1, batch_size=512)
    for name, seed in (("run", 0), ("twin", 1)):
        train(config.model_copy(update={"seed": seed}), TrainRun(out=folder / name, checkpoint_every=1))
    with suppress(_StopError):
        train(config.model_copy(update={"epochs": 2}), TrainRun(out=folder / "stopped"), _stop)
    measured = AnalysisSettings(samples="16", budget=4.0, measures=("connectivity", "margin"))
    for name, run in (("a", "run"), ("b", "twin")):
        analyze_checkpoint(folder / run / "final.pt", settings=measured, cache=False).write(folder / f"{name}.json")
    grid = SurfaceSettings(points="2x2", samples="16")
    surface_checkpoint(folder / "run" / "final.pt", folder / "plane.npz", settings=grid)
    _foreign(folder)
    _damaged(folder)
    rows = [f"n{i},{0.9 - i / 50},{1 + i},{i % 2}\n" for i in range(6)]
    (folder / "table.csv").write_text("name,y,m,h\n" + "".join(rows))
    (folder / "short.csv").write_text("name,y,m\na,1,2\nb,1,2\n")
    (folder / "recipe.yaml").write_text(f"model: {MODEL}\nepochs: 1\nbatch_size: 512\n")
    settings = f"{{model: '{MODEL}', epochs: 1, batch_size: 512}}"
    (folder / "sweep.yaml").write_text(f"settings: {settings}\ngrid: {{seed: [0, 1]}}\n")
    (folder / "own_network.py").write_text(OWN_NETWORK)
    (folder / "own_problem.py").write_text(OWN_PROBLEM)
    (folder / "failing_problem.py").write_text("def problem(weights):\n    return 1 / 0\n")
    (folder / "wrong_problem.py").write_text("def problem(weights):\n    return 3\n")
    (folder / "note.txt").write_text("a note\n")


def _foreign(folder: Path) -> None:
    tensors = torch.load(folder / "run" / "final.pt", weights_only=True)["state_dict"]
    torch.save(dict(tensors), folder / "foreign.pth")
    save_file(tensors, folder / "foreign.safetensors")


def _damaged(folder: Path) -> None:
    whole = (folder / "run" / "final.pt").read_bytes()
    (folder / "half.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pt").write_bytes(b"")
    noise = bytes(17 * i * i % 251 for i in range(2000))
    for name in ("noise.bin", "noise.csv", "noise.npz"):
        (folder / name).write_bytes(noise)
    (folder / "hostile.pt").write_bytes(pickle.dumps({"state_dict": Hostile()}))
    payload = torch.load(folder / "run" / "final.pt", weights_only=True)
    next(iter(payload["state_dict"].values())).fill_(torch.nan)
    torch.save(payload, folder / "nan.pt")
    document = json.loads((folder / "a.json").read_text())
    (folder / "half.json").write_text((folder / "a.json").read_text()[:500])
    (folder / "newer.json").write_text(json.dumps({**document, "schema": "landscape.analysis/9"}))
    (folder / "list.json").write_text("[1, 2]")
    plane = (folder / "plane.npz").read_bytes()
    (folder / "half.npz").write_bytes(plane[: len(plane) // 2])
    (folder / "other.npz").write_bytes((folder / "foreign.pth").read_bytes())
    (folder / "bad.yaml").write_text("lr: [1\n")
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "broken-run").mkdir()
    (folder / "broken-run" / "config.yaml").write_text("lr: fast\nmodle: mlp\n")
    (folder / "broken-run" / "history.csv").write_text("epoch,step\n1\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
