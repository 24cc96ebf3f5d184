"""A surface: values on a grid over a slice, in one .npz file that is written whole or not at all. Knows no torch.

Legend: X places along the first direction, Y along the second (1 where there is none). Arrays over the grid are (Y, X):
a row is one y.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError
from landscape.files import write_atomically

SCHEMA = "landscape.surface/1"
_ARRAYS = ("x", "y", "loss", "accuracy", "displacement", "done", "path")


@dataclass
class Surface:
    """Values on a grid, and what they are values of.

    Attributes:
        x, y: the coordinates (X,), (Y,); y is [0] along a line or a curve.
        loss, accuracy: (Y, X); NaN where it is one, and where nothing was computed yet.
        displacement: ||theta(x, y) - theta(0, 0)|| (Y, X); NaN along a curve.
        done: (Y, X), which points were computed.
        path: places (n, 2) of a path on the plane; (0, 2) without.
        settings: what decides the values, plain; two surfaces with equal settings have equal values.
        about: labels, norms, the path's names, the problem; plain.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    displacement: np.ndarray
    done: np.ndarray
    path: np.ndarray
    settings: Mapping[str, Any]
    about: Mapping[str, Any]

    @property
    def dimensions(self) -> int:
        """1 for a line or a curve, 2 for a plane."""
        return int(self.about["dimensions"])

    @property
    def finished(self) -> bool:
        """Whether every point was computed."""
        return bool(self.done.all())

    @property
    def holes(self) -> int:
        """The number of computed points whose loss is NaN or infinite."""
        return int((self.done & ~np.isfinite(self.loss)).sum())

    def rows(self) -> Iterator[tuple[float, float, float, float, float]]:
        """(x, y, displacement, loss, accuracy) of every point, x the faster."""
        for j, y in enumerate(self.y):
            for i, x in enumerate(self.x):
                yield (
                    float(x), float(y), float(self.displacement[j, i]), float(self.loss[j, i]),
                    float(self.accuracy[j, i]),
                )  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the .npz: the same bytes for the same values.

        Raises:
            WriteError: the file cannot be written.
        """
        text = json.dumps({"schema": SCHEMA, "settings": self.settings, "about": self.about}, sort_keys=True)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:  # numpy's own writes the time of day
            for name in _ARRAYS:
                _store(archive, name, getattr(self, name))
            _store(archive, "meta", np.frombuffer(text.encode(), dtype=np.uint8))
        write_atomically(path, content.getvalue())

    def write_csv(self, path: Path) -> None:
        """Write a line a point: x, y, displacement, loss, accuracy; a number that is not known is `nan`.

        Raises:
            WriteError: the file cannot be written.
        """
        lines = ["x,y,displacement,loss,accuracy", *(",".join(map(repr, row)) for row in self.rows())]
        write_atomically(path, ("\n".join(lines) + "\n").encode())

    def write_vtk(self, path: Path) -> None:
        """Write a rectilinear grid in the legacy VTK text format, with loss and accuracy at its points.

        Raises:
            WriteError: the file cannot be written.
        """
        lines = ["# vtk DataFile Version 3.0", "landscape surface", "ASCII", "DATASET RECTILINEAR_GRID"]
        lines += [f"DIMENSIONS {len(self.x)} {len(self.y)} 1"]
        for name, places in (("X", self.x), ("Y", self.y), ("Z", np.zeros(1))):
            lines += [f"{name}_COORDINATES {len(places)} double", " ".join(repr(float(p)) for p in places)]
        lines.append(f"POINT_DATA {self.loss.size}")
        for name in ("loss", "accuracy"):
            lines += [f"SCALARS {name} double 1", "LOOKUP_TABLE default"]
            lines += [" ".join(repr(float(v)) for v in row) for row in getattr(self, name)]
        write_atomically(path, ("\n".join(lines) + "\n").encode())


def read_surface(path: Path) -> Surface:
    """Read what `Surface.write` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or no surface, or of a newer version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (*_ARRAYS, "meta")}
        meta = json.loads(arrays.pop("meta").tobytes())
    except FileNotFoundError:
        raise CheckpointError(f"there is no surface {path}.") from None
    except KeyError as error:
        raise CheckpointError(f"{path} is no surface of landscape: it has no array {error.args[0]!r}.") from error
    except Exception as error:  # a damaged archive can fail anywhere in the reader
        raise CheckpointError(f"{path} is no surface of landscape, or damaged; make it again.") from error
    schema = meta.get("schema") if isinstance(meta, dict) else None
    if schema != SCHEMA:
        raise CheckpointError(f"{path}: expected the schema {SCHEMA}, got {schema}; use the landscape "
                              "that wrote it.")  # fmt: skip
    shape = (len(arrays["y"]), len(arrays["x"])) if arrays["x"].ndim == arrays["y"].ndim == 1 else ()
    fits = all(arrays[name].shape == shape for name in ("loss", "accuracy", "displacement", "done"))
    if not fits or not all(isinstance(meta.get(part), dict) for part in ("settings", "about")):
        raise CheckpointError(f"{path}: its arrays do not make a grid; make it again.")
    return Surface(**arrays, settings=meta["settings"], about=meta["about"])


def places(low: float, high: float, count: int) -> np.ndarray:
    """`count` places from low to high at equal distances; one that is 0 but for rounding is 0."""
    found = np.linspace(low, high, count)
    found[np.abs(found) < 1e-12 * (high - low)] = 0.0
    return found


def _store(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content.getvalue())
