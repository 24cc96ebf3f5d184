"""A folder as a checkpoint: which files in it hold the weights, as transformers' `save_pretrained` lays them out.

model.safetensors                  all of them, or
model.safetensors.index.json       {"weight_map": {name: file}}: in several files, the shards
pytorch_model.bin, pytorch_model.bin.index.json    the same in torch's format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from landscape.errors import CheckpointError

INDEX = ".index.json"
_NAMES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = {".pt", ".pth", ".th", ".ckpt", ".safetensors", ".bin"}
_SHOWN = 5


def is_sharded(path: Path) -> bool:
    """Whether the weights at `path` are in several files, or in a folder that says in which."""
    return path.is_dir() or path.name.endswith(INDEX)


def weight_files(path: Path) -> tuple[tuple[Path, ...], Mapping[str, str] | None]:
    """The files that hold the weights of a folder or of an index, and which name is in which (None: all in one).

    Raises:
        CheckpointError: there are none, or the index is damaged or names files that are not there.
    """
    if path.name.endswith(INDEX):
        return _of_index(path)
    for name in _NAMES:
        if (path / name).is_file():
            return (path / name,), None
        if (path / f"{name}{INDEX}").is_file():
            return _of_index(path / f"{name}{INDEX}")
    found = sorted(p.name for p in path.iterdir() if p.suffix in _SUFFIXES)
    there = f"it holds {', '.join(found[:_SHOWN])}" if found else "it holds no checkpoint"
    raise CheckpointError(
        f"expected a checkpoint file or a folder with {' or '.join(_NAMES)}, got the folder {path} ({there}); "
        "name a file in it."
    )


def _of_index(path: Path) -> tuple[tuple[Path, ...], Mapping[str, str]]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no index {path}; name the folder or a file of the weights.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({str(error).splitlines()[0]}); copy or download it again."
        ) from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    # a name with folders in it could lead anywhere on the disk
    plain = isinstance(places, dict) and all(isinstance(f, str) and Path(f).name == f for f in places.values())
    if not isinstance(places, dict) or not places or not plain:
        raise CheckpointError(f"{path}: expected a weight_map of names to files of its own folder; download it again.")
    files = tuple(path.parent / name for name in sorted(set(places.values())))
    gone = [file.name for file in files if not file.is_file()]
    if gone:
        raise CheckpointError(
            f"{path} names {len(files)} files, of which {', '.join(gone[:_SHOWN])} "
            f"{'is' if len(gone) == 1 else 'are'} not there; copy or download them too."
        )
    return files, places


def joint_digest(digests: Mapping[str, str]) -> str:
    """The SHA-256 of several files, by name: that of the lines `name digest`; of one file its own."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
