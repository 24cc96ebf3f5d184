"""The text form of a data set, `NAME` or `NAME:FOLDER`, and what is registered under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from landscape.data.images import ImageSet
from landscape.data.normalization import Normalization
from landscape.data.pictures import PictureSet
from landscape.errors import OptionError, near


@dataclass(frozen=True)
class DataSpec:
    """A data set by name and the folder with its files; `str(spec)` is its text form."""

    name: str
    folder: Path | None = None

    def __str__(self) -> str:
        return self.name if self.folder is None else f"{self.name}:{self.folder}"


@dataclass(frozen=True)
class DataSource:
    """A registered data set.

    Attributes:
        name: in specs.
        read: (folder, split) -> `ImageSet` or, of pictures that are decoded as they are needed, `PictureSet`; raises
            `DataError` for a missing or damaged file.
        splits: their names, the training split first.
        classes: the K names; none where the folder says them.
        channels: C.
        size: S, the side in pixels.
        needs_folder: whether its files come from the user.
        normalization: mean and deviation of the training images, by channel.
        reference: who published it.
        mirrored: whether a mirrored image has the same label.
        pictures: whether the images are pictures of any size, in files of their own.
    """

    name: str
    read: Callable[[Path, str], ImageSet | PictureSet]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    channels: int
    size: int
    needs_folder: bool
    normalization: Normalization
    reference: str
    mirrored: bool = False
    pictures: bool = False


def parse_spec(text: str, sources: Mapping[str, DataSource]) -> DataSpec:
    """Parse `NAME` or `NAME:FOLDER` against the registered `sources`; the folder is not looked at.

    Raises:
        OptionError: the name is unknown, or a folder is missing or superfluous.
    """
    name, _, folder = text.strip().partition(":")
    if name not in sources:
        raise OptionError(f"unknown data set {name!r}.{near(name, sources)}")
    if sources[name].needs_folder and not folder:
        raise OptionError(f"{name} needs the folder that holds its files: {name}:FOLDER.")
    if folder and not sources[name].needs_folder:
        raise OptionError(f"{name} is built in and takes no folder, got {folder!r}; say {name}.")
    return DataSpec(name, Path(folder).expanduser() if folder else None)
