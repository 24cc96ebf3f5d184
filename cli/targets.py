"""Where an analysis is to be written: names that do not clash, and places that can be written to.

A place is tried before the long computation, so that an hour of work is not lost to a missing permission.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from landscape.errors import OptionError, WriteError

REPORTS = (".pdf", ".html")
"""The formats of a report; those of `landscape.report.writing`, which help must not wait for."""


def document_names(checkpoints: Sequence[Path]) -> list[str]:
    """A file name for each checkpoint's document: the stems, or as much more of each path as tells all apart.

    `a/final.pt` and `b/final.pt` give `a-final.json` and `b-final.json`; `final.pt` and `final.th` of one
    folder give `final.pt.json` and `final.th.json`. Names that differ in case alone count as the same,
    because some file systems cannot keep both.

    Raises:
        OptionError: one file is named twice.
    """
    paths = [Path.cwd() / path for path in checkpoints]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise OptionError(f"{checkpoints[index]} is given twice; name each checkpoint once.")
    for depth in range(max(len(path.parts) for path in paths)):
        for whole in (False, True):
            labels = [_label(path, depth, whole=whole) for path in paths]
            if len({label.casefold() for label in labels}) == len(labels):
                return [f"{label}.json" for label in labels]
    return [f"{number}-{path.stem}.json" for number, path in enumerate(paths, start=1)]


def check_folder(folder: Path, option: str) -> None:
    """Try that files can be written into `folder`, making it if need be; leaves nothing behind.

    Raises:
        WriteError: it cannot be made or written to.
    """
    made: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(f"{option}: cannot write into {folder}: {reason}. Choose another folder.") from error
    finally:
        for path in reversed(made):
            path.rmdir()


def check_report(report: Path, option: str) -> None:
    """Try that `report` can be written.

    Raises:
        OptionError: it is named neither .pdf nor .html.
        WriteError: it is a folder, or its folder cannot be written to.
    """
    if report.suffix.lower() not in REPORTS:
        raise OptionError(f"{option}: expected a file name that ends in {' or '.join(REPORTS)}, got {report}.")
    if report.is_dir():
        raise WriteError(f"{option}: {report} is a folder; expected the name of a file.")
    check_folder(report.parent, option)


def check_file(path: Path | None, option: str, suffixes: Sequence[str]) -> None:
    """Try that the file can be written; None is no file.

    Raises:
        OptionError: its name ends otherwise than in `suffixes`.
        WriteError: it is a folder, or its folder cannot be written to.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        ends = f"{', '.join(others)} or {last}" if others else last
        raise OptionError(f"{option}: expected a name that ends in {ends}, got {path}.")
    if path.is_dir():
        raise WriteError(f"{option}: {path} is a folder; expected a file name.")
    check_folder(path.parent, option)


def given(context: typer.Context, name: str) -> bool:
    """Whether the parameter `name` was on the command line."""
    origin = context.get_parameter_source(name)
    return origin is not None and origin.name != "DEFAULT"


def _label(path: Path, depth: int, *, whole: bool) -> str:
    """The stem (or the `whole` name) of `path` with its last `depth` folders before it."""
    name = path.name if whole else path.stem
    folders = path.parent.parts[1:]
    return "-".join([*folders[max(0, len(folders) - depth) :], name])
