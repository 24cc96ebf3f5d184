"""Whether files are whole: each kind is read by what reads it, and none is there for a moment only."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from landscape.surfaces.grid import read_surface


def files_in(folder: Path) -> dict[Path, bytes]:
    """Every file below `folder` with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def must_be_whole(path: Path, told: str = "") -> None:
    """Fail where `path` was left half-written, or is a file that should have gone."""
    where = f"{path}: {told}"
    content = path.read_bytes()
    assert not path.name.startswith("."), where
    match path.suffix:
        case ".pt":
            torch.load(path, weights_only=True)
        case ".json":
            json.loads(content)
        case ".npz":
            read_surface(path)
        case ".csv" | ".yaml" | ".vtk" | ".md":
            assert content.endswith(b"\n"), where
        case ".pdf":
            assert content.rstrip().endswith(b"%%EOF"), where
        case ".png":
            assert content.endswith(b"IEND\xaeB`\x82"), where
        case ".svg" | ".html":
            assert content.rstrip().endswith((b"</svg>", b"</html>")), where
