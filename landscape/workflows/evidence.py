"""Networks with what was measured of them and how well they do, from analysis documents and run folders.

Loads no torch: a run folder that has no analysis yet is told as missing, for the caller to measure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape.catalog import PRESETS, expand
from landscape.errors import CheckpointError, OptionError, near
from landscape.records import SCHEMA, Analysis
from landscape.training.history import read_history
from landscape.training.run_folder import RunFolder
from landscape.workflows.names import distinct_names, numbered

ANALYSIS = "analysis.json"
"""What an analysis is called beside the checkpoint of a run folder."""

OF_FINAL = "final.json"
"""What `landscape analyze --out` calls that of the checkpoint of a finished run."""

CHECKPOINTS = (".pt", ".pth", ".th", ".ckpt", ".safetensors")
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")

# What must be the same for two values of a measure to be values of the same thing: name for people -> where it stands.
_SETTINGS = {
    "split": ("problem", "split"),
    "samples": ("settings", "samples"),
    "bn mode": ("problem", "bn_mode"),
    "dtype": ("problem", "dtype"),
    "loss": ("problem", "loss_name"),
    "connectivity batch": ("settings", "connectivity_batch"),
    "engine": ("settings", "engine"),
    "substructures (by)": ("settings", "by"),
}


@dataclass(frozen=True)
class Evidence:
    """One network.

    Attributes:
        name: for people; different among networks that were read together.
        analysis: what was measured.
        metrics: those of `METRICS` that are known.
        document: the file that the analysis was read from; None where it was made now.
    """

    name: str
    analysis: Analysis
    metrics: Mapping[str, float]
    document: Path | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the training, where the checkpoint knows them."""
        config: Mapping[str, Any] = self.analysis.checkpoint.get("config") or {}
        return config

    @property
    def data(self) -> str:
        """The data set, without where it lies."""
        return str(self.analysis.problem.get("data", "unknown")).partition(":")[0]

    @property
    def model(self) -> str:
        """The network."""
        return str(self.analysis.problem.get("model") or self.config.get("model") or "unknown")

    def settings(self) -> dict[str, str]:
        """What decides what the values are values of, by its name for people."""
        found = {name: _text(getattr(self.analysis, part).get(key)) for name, (part, key) in _SETTINGS.items()}
        samples = found["samples"]
        if samples.isdigit():  # drawn by the seed
            found["samples"] = f"{samples} of seed {_text(self._subset_seed)}"
        return found

    @property
    def _subset_seed(self) -> Any:
        return self.analysis.problem.get("subset_seed", self.analysis.settings.get("seed"))


@dataclass(frozen=True)
class Sources:
    """What paths lead to: analysis documents, and checkpoints that have none yet with where it belongs (None: nowhere).

    `order` has the path of each network in the order of the command line, `left_out` the folders without one and why.
    """

    order: Sequence[Path]
    documents: Sequence[Path]
    missing: Mapping[Path, Path | None]
    left_out: Mapping[Path, str]


def find_sources(paths: Sequence[Path]) -> Sources:
    """Find the analyses behind JSON documents, run folders, folders of either, checkpoints and patterns with `*`.

    Raises:
        OptionError: a path is not there, a pattern matches nothing, a folder holds several analyses of one run, or no
            folder holds a finished run or an analysis.
    """
    order: list[Path] = []
    documents: list[Path] = []
    missing: dict[Path, Path | None] = {}
    left_out: dict[Path, str] = {}
    for path in dict.fromkeys(one for given in paths for one in expanded(given)):
        if path.is_dir():
            known, folder = documents_in(path), RunFolder(path)
            if not known and folder.finished:
                missing[folder.final] = path / ANALYSIS
                order.append(folder.final)
                continue
            if len(known) > 1 and (folder.finished or folder.holds_run):
                names = ", ".join(document.name for document in known)
                raise OptionError(f"{path} holds several analyses of one run ({names}); name one of the files.")
            if not known:
                left_out[path] = "holds no analysis and no final.pt"
                continue
            found = known
        elif path.suffix.lower() in CHECKPOINTS:
            missing[path] = None
            order.append(path)
            continue
        else:
            found = [path]
        documents += found
        order += found
    if left_out and not order:
        path, reason = next(iter(left_out.items()))
        raise OptionError(f"{path} {reason}; expected a run that is finished.")
    return Sources(list(dict.fromkeys(order)), list(dict.fromkeys(documents)), missing, left_out)


def read_documents(path: Path) -> list[Analysis]:
    """The analysis in a JSON file, or the array of them that `landscape analyze --json` writes of several.

    Raises:
        OptionError: the file is not there, is no JSON, or holds no analysis of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole_number)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except ValueError as error:
        raise OptionError(
            f"{path} is no JSON ({error}); expected an analysis, written by `landscape analyze`."
        ) from error
    documents = content if isinstance(content, list) else [content]
    for document in documents:
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != SCHEMA:
            newer = isinstance(schema, str) and schema.startswith(SCHEMA.partition("/")[0] + "/")
            remedy = "use the landscape that wrote it" if newer else "give what `landscape analyze --json` writes"
            raise OptionError(f"{path}: expected an analysis of schema {SCHEMA}, got {schema!r}; {remedy}.")
    try:
        return [Analysis.from_dict(document) for document in documents]
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def _whole_number(digits: str) -> int | float:
    """JSON's whole numbers know no largest one; what no float can hold is infinite."""
    return int(digits) if len(digits) < 300 else float(digits)


def gather(sources: Sources, measured: Mapping[Path, Analysis]) -> list[Evidence]:
    """Read the documents of `sources` and join what was `measured` of the checkpoints that had none.

    Raises:
        OptionError: as `read_documents`.
    """
    places: list[Path] = []
    analyses: list[Analysis] = []
    documents: list[Path | None] = []
    for path in sources.order:
        if path in sources.missing:
            if path in measured:
                places.append(path.parent if path.name == "final.pt" else path)
                analyses.append(measured[path])
                documents.append(None)
            continue
        found = read_documents(path)
        for analysis in found:
            places.append(_place(path, analysis, alone=len(found) == 1))
            analyses.append(analysis)
            documents.append(path)
    unique = list(dict.fromkeys(places))
    short = dict(zip(unique, (name.removesuffix(".json") for name in distinct_names(unique)), strict=True))
    names = numbered([short[place] for place in places])
    return [
        Evidence(name, analysis, metrics_of(analysis, place), document)
        for name, analysis, place, document in zip(names, analyses, places, documents, strict=True)
    ]


def those_there(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """The measures of `wanted`, of a preset those that are `known`; all of them if none is wanted.

    Raises:
        OptionError: a name that no network has and that is no preset, or presets of which none has anything.
    """
    for name in wanted:
        if name not in known and name not in PRESETS:
            raise OptionError(f"--measures: no network has {name!r}.{near(name, known)}")
    found = [name for name in expand(wanted) if name in known] if wanted else list(known)
    if wanted and not found:
        raise OptionError(f"--measures: no network has a measure of {', '.join(wanted)}; known: {', '.join(known)}.")
    return found


def once_each(networks: Sequence[Evidence]) -> tuple[list[Evidence], dict[str, str]]:
    """Each checkpoint once, with all that was measured of it, and which name was left out for which.

    Several analyses of one checkpoint are no further networks: they would narrow every interval. Where two have
    measured the same, the first counts. Checkpoints whose hash is not known are taken for different ones.
    """
    kept: dict[str, Evidence] = {}
    again: dict[str, str] = {}
    for number, one in enumerate(networks):
        digest = str(one.analysis.checkpoint.get("sha256") or number)
        first = kept.setdefault(digest, one)
        if first is not one:
            measures = {**one.analysis.measures, **first.analysis.measures}
            kept[digest] = replace(first, analysis=replace(first.analysis, measures=measures))
            again[one.name] = first.name
    return list(kept.values()), again


def differences(networks: Sequence[Evidence], *, network: bool) -> list[str]:
    """What differs in words: data set and settings of the analyses, and with `network` the networks themselves."""
    tables = [{"data": one.data, "network": one.model, **one.settings()} for one in networks]
    words = []
    for name in tables[0] if tables else ():
        if name == "network" and not network:
            continue
        values = list(dict.fromkeys(table[name] for table in tables))
        if len(values) > 1:
            shown = ", ".join(values[:3]) + (f" and {len(values) - 3} more" if len(values) > 3 else "")
            words.append(f"{name}: {shown}")
    return words


def expanded(path: Path) -> list[Path]:
    """The path itself, the runs in a folder of runs, or what a pattern that no shell has expanded matches.

    Raises:
        OptionError: the path is not there, or the pattern matches nothing.
    """
    if path.is_dir() and not (RunFolder(path).holds_run or RunFolder(path).finished or documents_in(path)):
        runs = [one for one in sorted(path.iterdir()) if one.is_dir() and _is_run(one)]
        return runs or [path]
    if path.exists():
        return [path]
    if any(letter in str(path) for letter in "*?["):
        start = Path(path.anchor) if path.is_absolute() else Path()
        found = sorted(start.glob(str(path.relative_to(path.anchor) if path.is_absolute() else path)))
        if not found:
            raise OptionError(f"nothing matches {path}; expected analyses, run folders or checkpoints.")
        return found
    known = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
    offer = near(str(path), known) if known else ""
    raise OptionError(
        f"there is no {path}; expected an analysis, a run folder or a checkpoint."
        + (offer if offer.startswith(" Did") else "")
    )


def documents_in(folder: Path) -> list[Path]:
    """The files of a folder that begin as an analysis does."""
    return [path for path in sorted(folder.glob("*.json")) if _begins_as_analysis(path)]


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).holds_run or RunFolder(folder).finished or (folder / ANALYSIS).is_file()


def _begins_as_analysis(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return '"landscape.analysis/' in file.read(200)
    except (OSError, UnicodeDecodeError):
        return False


def _place(path: Path, analysis: Analysis, *, alone: bool) -> Path:
    """What a network is named after: its run folder, the checkpoint in an array of analyses, else the document."""
    if path.name == ANALYSIS or (path.name == OF_FINAL and RunFolder(path.parent).finished):
        return path.parent
    checkpoint = analysis.checkpoint.get("path")
    if alone or not isinstance(checkpoint, str):
        return path
    return Path(checkpoint).parent if Path(checkpoint).name == "final.pt" else Path(checkpoint)


def metrics_of(analysis: Analysis, place: Path | None = None) -> dict[str, float]:
    """What the checkpoint says of itself, else the last row of the history in `place`, else what was measured."""
    found = {key: value for key, value in (analysis.checkpoint.get("metrics") or {}).items() if key in METRICS}
    if not found and place is not None and place.is_dir() and (history := RunFolder(place).history).is_file():
        try:
            rows = read_history(history)
        except CheckpointError:
            rows = []
        found = {key: rows[-1][key] for key in METRICS if rows and key in rows[-1]}
    split, problem = analysis.problem.get("split"), analysis.problem
    if split in ("train", "test") and problem.get("samples") == problem.get("available"):
        for kind in ("loss", "accuracy"):
            found.setdefault(f"{split}_{kind}", problem.get(kind))
    return {
        key: float(value) for key, value in found.items() if isinstance(value, (int, float)) and math.isfinite(value)
    }


def _text(value: Any) -> str:
    return "unknown" if value is None else str(value)
