"""Folders with weights, whole or in shards, as transformers writes them; tied weights that are written once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from landscape.checkpoint import read_checkpoint
from landscape.errors import CheckpointError
from landscape.weight_loading import load_tensors

WEIGHTS = {f"layer{i}.weight": torch.full((2, 3), float(i)) for i in range(4)}
SHARDS = {"model-00001-of-00002.safetensors": 2, "model-00002-of-00002.safetensors": 4}


def sharded(folder: Path, suffix: str = ".safetensors") -> Path:
    """Four tensors in two files and the index of both."""
    names, start, places = list(WEIGHTS), 0, {}
    for file, stop in SHARDS.items():
        part = {name: WEIGHTS[name] for name in names[start:stop]}
        place = folder / file.replace(".safetensors", suffix)
        save_file(part, place) if suffix == ".safetensors" else torch.save(part, place)
        places |= dict.fromkeys(part, place.name)
        start = stop
    stem = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
    index = folder / f"{stem}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": places}))
    return index


def check(found: dict[str, Tensor]) -> None:
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_are_joined_by_their_index(tmp_path: Path, suffix: str) -> None:
    index = sharded(tmp_path, suffix)
    folder, by_index = read_checkpoint(tmp_path), read_checkpoint(index)
    check(dict(folder.tensors))
    check(dict(by_index.tensors))
    assert folder.description is None
    assert (folder.path, folder.sha256) == (tmp_path, by_index.sha256)
    torch.save(WEIGHTS, tmp_path / "other.pt")
    assert read_checkpoint(tmp_path).sha256 == folder.sha256


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_one_file_of_the_usual_name(tmp_path: Path, name: str) -> None:
    save_file(WEIGHTS, tmp_path / name) if name.endswith("s") else torch.save(WEIGHTS, tmp_path / name)
    found = read_checkpoint(tmp_path)
    check(dict(found.tensors))
    assert found.sha256 == read_checkpoint(tmp_path / name).sha256


def test_a_part_of_the_names_by_key(tmp_path: Path) -> None:
    begun = {f"encoder.{name}": tensor for name, tensor in WEIGHTS.items()}
    save_file({**begun, "head.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    check(dict(read_checkpoint(tmp_path, "encoder").tensors))


def damage(index: Path, kind: str) -> None:
    content = json.loads(index.read_text())
    places = content["weight_map"]
    if kind == "a shard gone":
        (index.parent / next(iter(SHARDS))).unlink()
    elif kind == "cut":
        index.write_text(index.read_text()[:40])
        return
    elif kind == "no map":
        del content["weight_map"]
    elif kind == "another folder":
        places["layer0.weight"] = "../outside.safetensors"
    elif kind == "a name too many":
        places["layer9.weight"] = places["layer0.weight"]
    elif kind == "another place":
        places["layer0.weight"] = places["layer3.weight"]
    index.write_text(json.dumps(content))


SAID = {
    "a shard gone": r"names 2 files, of which model-00001-of-00002.safetensors is not there",
    "cut": "is damaged",
    "no map": "expected a weight_map",
    "another folder": "files of its own folder",
    "a name too many": "names tensors that are in no file: layer9.weight",
    "another place": "holds layer0.weight, which its index does not place there",
}


@pytest.mark.parametrize("kind", SAID)
def test_a_damaged_index_is_said_in_one_line(tmp_path: Path, kind: str) -> None:
    save_file(WEIGHTS, tmp_path / "outside.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    index = sharded(folder)
    damage(index, kind)
    with pytest.raises(CheckpointError, match=SAID[kind]) as caught:
        read_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"got the folder .* \(it holds no checkpoint\); name a file"):
        read_checkpoint(tmp_path)
    torch.save(WEIGHTS, tmp_path / "final.pt")
    with pytest.raises(CheckpointError, match=r"\(it holds final\.pt\); name a file in it"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="there is no index"):
        read_checkpoint(tmp_path / "model.safetensors.index.json")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.head.weight = self.words.weight


@pytest.mark.parametrize("names", [("words",), ("head",), ("words", "head")])
def test_tied_weights_may_be_written_once(names: tuple[str, ...]) -> None:
    value = torch.randn(4, 3)
    model = Tied()
    load_tensors(model, {f"{name}.weight": value for name in names})
    assert torch.equal(model.words.weight, value)
    assert model.head.weight is model.words.weight


def test_tied_weights_that_differ_are_of_another_network() -> None:
    with pytest.raises(CheckpointError, match=r"tied in the network, different here: head\.weight\."):
        load_tensors(Tied(), {"words.weight": torch.zeros(4, 3), "head.weight": torch.ones(4, 3)})
