"""What the files and folders of a report hold: networks, trainings, studies, comparisons, surfaces."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landscape.errors import OptionError
from landscape.records import SCHEMA as ANALYSIS_SCHEMA
from landscape.surfaces.grid import Surface, read_surface
from landscape.training.run_folder import RunFolder
from landscape.workflows.compare import SCHEMA as COMPARISON_SCHEMA
from landscape.workflows.compare import Comparison
from landscape.workflows.correlate import SCHEMA as CORRELATIONS_SCHEMA
from landscape.workflows.correlate import Correlations
from landscape.workflows.evidence import (
    CHECKPOINTS,
    Evidence,
    Sources,
    documents_in,
    expanded,
    gather,
    read_documents,
)
from landscape.workflows.history import RunHistory, read_runs
from landscape.workflows.numbers_table import TABLES
from landscape.workflows.saved import comparison_of, correlations_of

KINDS = (
    "an analysis, correlations or a comparison (.json), a surface (.npz), a run folder of landscape train, a folder of "
    "these, or a checkpoint that was analyzed"
)
_SCHEMA = re.compile(rb'"schema":\s*"([^"]*)"')


@dataclass(frozen=True)
class Origin:
    """A file that was read, and its SHA-256."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Network:
    """A network that was analyzed, and the file that says so (None: it was analyzed now)."""

    evidence: Evidence
    origin: Origin | None = None


@dataclass(frozen=True)
class Training:
    """A run with its history, and the files that tell of it."""

    run: RunHistory
    origins: Sequence[Origin]


@dataclass(frozen=True)
class Study:
    """Correlations that were found earlier."""

    result: Correlations
    origin: Origin


@dataclass(frozen=True)
class Compared:
    """A comparison that was made earlier."""

    result: Comparison
    origin: Origin


@dataclass(frozen=True)
class Slice:
    """A surface that was computed."""

    surface: Surface
    origin: Origin


@dataclass(frozen=True)
class Found:
    """All that a report is on, each kind in the order of the command line; `notes` say what is missing."""

    networks: Sequence[Network] = ()
    trainings: Sequence[Training] = ()
    studies: Sequence[Study] = ()
    comparisons: Sequence[Compared] = ()
    surfaces: Sequence[Slice] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def find(paths: Sequence[Path]) -> Found:
    """Read what is behind the paths, each once.

    Raises:
        OptionError: no path is given, one is not there, is none of the known kinds, is of another version, or is a
            checkpoint without an analysis.
        CheckpointError: a history or a surface is damaged.
    """
    if not paths:
        raise OptionError(f"a report wants files, got none; expected {KINDS}.")
    networks: list[Path] = []
    folders: list[Path] = []
    studies: list[Study] = []
    comparisons: list[Compared] = []
    surfaces: list[Slice] = []
    notes: list[str] = []
    for path in dict.fromkeys(one for given in paths for one in expanded(given)):
        if path.is_dir():
            networks += _of_folder(path, folders, notes)
        elif path.suffix.lower() == ".npz":
            surfaces.append(Slice(read_surface(path), origin_of(path)))
        elif path.suffix.lower() in CHECKPOINTS:
            networks.append(_analysis_of(path))
        elif path.suffix.lower() == ".json":
            kind = _kind(path)
            if kind == ANALYSIS_SCHEMA:
                networks.append(path)
            elif kind == CORRELATIONS_SCHEMA:
                studies.append(Study(_read(path, correlations_of), origin_of(path)))
            else:
                comparisons.append(Compared(_read(path, comparison_of), origin_of(path)))
        elif path.suffix.lower() in TABLES:
            raise OptionError(f"{path} is a table; correlate it first: landscape correlate {path} --json > study.json")
        else:
            raise OptionError(f"{path} is nothing that a report can be on; expected {KINDS}.")
    runs = read_runs(folders) if folders else []
    return Found(
        _networks(list(dict.fromkeys(networks))),
        [Training(run, _files_of(folder)) for run, folder in zip(runs, folders, strict=True)],
        studies,
        comparisons,
        surfaces,
        notes,
    )


def origin_of(path: Path) -> Origin:
    """The file with its hash.

    Raises:
        OptionError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return Origin(path, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror or error}.") from error


def _of_folder(path: Path, folders: list[Path], notes: list[str]) -> list[Path]:
    """The documents of a folder; one with a history is added to `folders`."""
    run, documents = RunFolder(path), documents_in(path)
    told = run.history.is_file()
    if told:
        folders.append(path)
    if len(documents) > 1 and (run.holds_run or run.finished):
        names = ", ".join(document.name for document in documents)
        raise OptionError(f"{path} holds several analyses of one run ({names}); name one of the files.")
    if not documents and run.finished:
        notes.append(f"{path} was not analyzed: landscape analyze {run.final} --out {path}")
    elif not documents and not told:
        raise OptionError(f"{path} holds no run and no analysis; expected {KINDS}.")
    return documents


def _files_of(folder: Path) -> list[Origin]:
    run = RunFolder(folder)
    return [origin_of(path) for path in (run.config_file, run.history, run.track, run.decay) if path.is_file()]


def _networks(documents: Sequence[Path]) -> list[Network]:
    origins = {path: origin_of(path) for path in documents}
    evidence = gather(Sources(documents, documents, {}, {}), {})
    return [Network(one, origins[one.document] if one.document is not None else None) for one in evidence]


def _kind(path: Path) -> str:
    """The schema of a JSON file, one of those that can be read."""
    known = (ANALYSIS_SCHEMA, CORRELATIONS_SCHEMA, COMPARISON_SCHEMA)
    schema = _schema(path)
    if schema in known:
        return schema
    for other in known:
        if schema.partition("/")[0] == other.partition("/")[0]:
            raise OptionError(f"{path}: expected the schema {other}, got {schema}; use the landscape that wrote it.")
    what = f"of the schema {schema}" if schema else "no document of landscape"
    raise OptionError(f"{path} is {what}; expected {KINDS}.")


def _schema(path: Path) -> str:
    """What a document says it is; the first of an array of them; empty where it says nothing."""
    try:
        with path.open("rb") as file:
            match = _SCHEMA.search(file.read(400))
        if match is not None:
            return match[1].decode("utf-8", "replace")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise OptionError(f"{path} is no JSON; expected {KINDS}.") from error
    first = content[0] if isinstance(content, list) and content else content
    schema = first.get("schema") if isinstance(first, dict) else None
    return schema if isinstance(schema, str) else ""


def _read(path: Path, reader: Callable[[Mapping[str, Any]], Any]) -> Any:
    try:
        return reader(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"{path} is damaged ({type(error).__name__}: {error}); make it again.") from error


def _analysis_of(checkpoint: Path) -> Path:
    """The document beside a checkpoint, or in its run folder, that was made of this very file.

    Raises:
        OptionError: there is none.
    """
    sha256 = origin_of(checkpoint).sha256
    folders = dict.fromkeys((checkpoint.parent, checkpoint.parent.parent))
    for document in (document for folder in folders for document in documents_in(folder)):
        try:
            analyses = read_documents(document)
        except OptionError:  # of another version, or damaged: none of this file at any rate
            continue
        if len(analyses) == 1 and analyses[0].checkpoint.get("sha256") == sha256:
            return document
    raise OptionError(
        f"{checkpoint} has no analysis beside it; make one: landscape analyze {checkpoint} --out {checkpoint.parent}"
    )
