"""Damaged files that are no checkpoints: run folders, analyses, surfaces, sweeps, tables; what is wrong is said.

Bytes are changed as a disk does it; of JSON documents also values, so that they are read as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from world import OWN_NETWORK

from landscape.config.tracking import TrackSettings
from landscape.config.training import TrainConfig, TrainRun
from landscape.training.events import EpochFinished, Event
from landscape.workflows.train import train
from landscape_cli.exits import Exit
from landscape_cli.main import main

RESUME, HISTORY = ["train", "--out", "stopped", "--resume", "-q"], ["history", "stopped"]
COMPARE = ["compare", "docs/a.json", "docs/b.json"]
CORRELATE = ["correlate", "docs", "--resamples", "10", "--allow-mixed"]
COMMANDS: dict[str, list[list[str]]] = {
    **{f"stopped/{name}.csv": [RESUME, HISTORY] for name in ("history", "decay", "norms", "ratios", "track")},
    **{f"stopped/{name}.yaml": [RESUME, HISTORY] for name in ("config", "track")},
    "docs/a.json": [COMPARE, CORRELATE],
    "docs/b.json": [COMPARE, CORRELATE],
    "plane.npz": [["surface", "plane.npz", "--csv", "points.csv"]],
    "sweep.yaml": [["sweep", "sweep.yaml", "--dry-run"]],
    "table.csv": [["correlate", "table.csv", "--target", "y", "--resamples", "10"]],
}
WORDS = [b"", b"nan", b"-1", b"1e999", b"null", b"[", b"{", b"9" * 25, b"x", b"\xff", b",", b"\n", b"0", b"true", b'"']
VALUES: list[Any] = [None, -1, 0, 1e300, "x", "", [], {}, True, [1, "a"], {"a": 1}, 2**70, 10**400, "nan"]


class StopError(Exception):
    pass


def _stop(event: Event) -> None:
    if isinstance(event, EpochFinished) and event.row["epoch"] == 1:
        raise StopError


def command(arguments: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, err.getvalue()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stopped run with every file that a run can have, and one document or more of each other kind."""
    folder = tmp_path_factory.mktemp("pristine") / "files"
    folder.mkdir()
    (folder / "own_network.py").write_text(OWN_NETWORK)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        settings = {"decay": "adaptive-beta", "schedule": "two-phase", "patience": 1}
        config = TrainConfig(model="own_network:bn", epochs=2, batch_size=512, **settings)
        with suppress(StopError):
            train(config, TrainRun(out=Path("stopped"), track=TrackSettings(names="norms,margin", samples="16")), _stop)
        last = "stopped/checkpoints/last.pt"
        measures = ["--samples", "16", "--measures", "margin,connectivity", "-q"]
        assert command(["analyze", last, *measures, "--out", "docs"])[0] == 0
        assert command(["surface", last, "--samples", "16", "--points", "2x2", "-q", "-o", "plane.npz"])[0] == 0
        document = json.loads(Path("docs/last.json").read_text())
        for i, name in enumerate("abc"):
            document["checkpoint"]["path"] = f"{name}/final.pt"
            document["checkpoint"]["metrics"]["test_accuracy"] = 0.5 + i / 10
            document["checkpoint"]["config"]["seed"] = i
            document["measures"]["connectivity"]["value"] *= 1.5
            Path(f"docs/{name}.json").write_text(json.dumps(document))
        Path("docs/last.json").unlink()
        Path("sweep.yaml").write_text("settings: {model: 'mlp:width=4', epochs: 1}\ngrid: {seed: [0, 1]}\n")
        Path("table.csv").write_text("name,y,m\n" + "".join(f"n{i},{0.9 - i / 50},{1 + i}\n" for i in range(6)))
    yield folder
    torch.set_num_threads(threads)
    sys.modules.pop("own_network", None)


def spoilt(content: bytes, draw: random.Random, *, is_json: bool, is_text: bool) -> tuple[str, bytes]:
    if is_json and draw.random() < 0.7:
        return _value_spoilt(content, draw)
    place, size = draw.randrange(len(content)), len(content)
    ways = ("cut", "flip", "zeros", "insert", "delete", *(("word", "word", "word", "line", "empty") if is_text else ()))
    match draw.choice(ways):
        case "cut":
            return f"cut at {place}", content[:place]
        case "flip":
            flipped = content[place] ^ 1 << draw.randrange(8)
            return f"a bit of byte {place}", content[:place] + bytes([flipped]) + content[place + 1 :]
        case "zeros":
            return f"zeros at {place}", content[:place] + bytes(min(8, size - place)) + content[place + 8 :]
        case "insert":
            return f"5 bytes put in at {place}", content[:place] + draw.randbytes(5) + content[place:]
        case "delete":
            return f"4 bytes taken out at {place}", content[:place] + content[place + 4 :]
        case "line":
            lines = content.split(b"\n")
            line = draw.randrange(len(lines))
            return f"line {line} twice", b"\n".join([*lines[: line + 1], *lines[line:]])
        case "empty":
            return "empty", b""
        case _:
            found, word = draw.choice(list(re.finditer(rb"[A-Za-z0-9_.+-]+", content))), draw.choice(WORDS)
            return f"{found.group()!r} is {word!r}", content[: found.start()] + word + content[found.end() :]


def _value_spoilt(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    document = json.loads(content)
    place: Any = document
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.25:
            break
        place = inner
    value = draw.choice(VALUES)
    place[key] = value
    return f"{key!r} is {str(value)[:30]!r}", json.dumps(document).encode()


def examine(number: int, seed: int, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "files"
    shutil.copytree(pristine, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv("LANDSCAPE_DEBUG", raising=False)
    draw = random.Random(f"{seed}/{number}")
    name = list(COMMANDS)[number % len(COMMANDS)]
    file = folder / name
    how, content = spoilt(file.read_bytes(), draw, is_json=name.endswith(".json"), is_text=not name.endswith(".npz"))
    for arguments in COMMANDS[name]:
        file.write_bytes(content)
        code, err = command(arguments)
        told = f"{name}, {how}: landscape {' '.join(arguments)} ends with {code}\n{err}"
        assert code in (Exit.OK, Exit.BAD_INPUT, Exit.DIVERGED), told
        assert "Traceback" not in err, told
        assert "Warning" not in err, told
        if code != Exit.OK:
            assert sum(line.startswith("error: ") for line in err.splitlines()) == 1, told


@pytest.mark.parametrize("number", range(3 * len(COMMANDS)))
def test_damaged(number: int, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examine(number, 1, pristine, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(25 * len(COMMANDS)))
def test_damaged_more(number: int, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examine(number, 2, pristine, tmp_path, monkeypatch)
