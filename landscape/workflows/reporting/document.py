"""What is told of what was found, and in which order: the study first, then its evidence, where it comes from last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import landscape
from landscape.errors import OptionError, near
from landscape.records import Analysis
from landscape.report.blocks import Block, Document, Part
from landscape.report.network import created, network_part
from landscape.report.writing import write_document
from landscape.workflows.compare import compare
from landscape.workflows.correlate import TARGETS, run_study, study_of
from landscape.workflows.evidence import Evidence, differences, metrics_of
from landscape.workflows.names import numbered, short_names
from landscape.workflows.reporting.comparison import comparison_part
from landscape.workflows.reporting.provenance import origin_facts, provenance_part
from landscape.workflows.reporting.sources import Found, Network, Origin
from landscape.workflows.reporting.study import study_part
from landscape.workflows.reporting.surface import surface_part
from landscape.workflows.reporting.training import training_part

SECTIONS = ("study", "comparison", "networks", "training", "surfaces")
"""What a report can hold, in its order."""

PAGES = 4
"""Networks that have pages of their own unless more are asked for; of more it is the best."""

SIDE_BY_SIDE = 40
"""Networks or runs that are shown together; of more the tables would be longer than anybody reads."""

LEAST = 3
"""Networks of a study."""

ONE = "Sharpness and geometry of a trained network"
SEVERAL = "Sharpness and geometry of trained networks"

Told = list[tuple[Part, Sequence[Origin]]]


@dataclass(frozen=True)
class Choice:
    """What is told.

    Attributes:
        sections: of `SECTIONS`; empty: all that there is something to say of.
        networks: which have pages of their own: `all`, `best` (by test accuracy), `none`, or names; empty: all of up to
            `PAGES`, of more the best.
        targets: of the study, a part each: accuracy, gap or loss.
        allow_mixed: hold networks against each other although data sets, settings or networks differ.
        title: of the document; None: what it is on.
        lead: blocks before the contents.
    """

    sections: Sequence[str] = ()
    networks: Sequence[str] = ()
    targets: Sequence[str] = ("accuracy",)
    allow_mixed: bool = False
    title: str | None = None
    lead: Sequence[Block] = ()


def report_of(found: Found, choice: Choice | None = None) -> tuple[Document, list[str]]:
    """The report, and what is to know of what it lacks.

    Raises:
        OptionError: an unknown section, network or target; a section that is asked for and cannot be made; networks
            that may not be held against each other.
    """
    choice = choice or Choice()
    for name in choice.sections:
        if name not in SECTIONS:
            raise OptionError(f"--sections: unknown section {name!r}.{near(name, SECTIONS)}")
    for target in choice.targets:
        if target not in TARGETS:
            raise OptionError(f"--target: expected accuracy, gap or loss, got {target!r}.")
    notes = list(found.notes)
    makers = {
        "study": _study, "comparison": _comparison, "networks": _networks, "training": _training, "surfaces": _surfaces,
    }  # fmt: skip
    told: Told = []
    for name in SECTIONS:
        if not choice.sections or name in choice.sections:
            made = makers[name](found, choice, notes)
            if not made and name in choice.sections:
                raise OptionError(f"--sections {name}: {_MISSING[name]}.")
            told += made
    if not told:
        raise OptionError(f"there is nothing to report on: {'; '.join(notes) or 'no section is left'}.")
    analyses = [network.evidence.analysis for network in found.networks]
    parts = [part for part, _ in told]
    if len(parts) > 1:
        parts.append(provenance_part(told, analyses))
    one = len(found.networks) <= 1 and len(found.trainings) <= 1
    dated = sorted(filter(None, map(created, analyses)))
    document = Document(
        title=choice.title or _title(parts, found),
        kicker=ONE if one else SEVERAL,
        parts=parts,
        version=landscape.__version__,
        dated=dated[-1] if dated else "",
        lead=choice.lead,
    )
    return document, notes


def write_report(analyses: Sequence[Analysis], path: Path | str, *, title: str | None = None) -> None:
    """Write one report on `analyses`, PDF or HTML: a comparison if there are several, then each with its measures.

    The same analyses give the same bytes: the document holds no time but the analyses' own.

    Args:
        analyses: at least one, in the order in which they are shown; they may be of different data.
        path: the .pdf or .html to write, whole or not at all.
        title: the title on the first page; the checkpoint's file name if None.

    Raises:
        OptionError: `analyses` is empty, or `path` ends otherwise.
        WriteError: `path` cannot be written.
    """
    if not analyses:
        raise OptionError("expected at least one analysis to report on, got none; analyze a checkpoint first.")
    paths = [str(a.checkpoint.get("path") or a.problem.get("model") or "problem") for a in analyses]
    names = short_names(paths)
    networks = [Network(Evidence(n, a, metrics_of(a))) for n, a in zip(names, analyses, strict=True)]
    sections = ["comparison", "networks"] if len(networks) > 1 else ["networks"]
    choice = Choice(sections=sections, networks=["all"], allow_mixed=True, title=title)
    document, _ = report_of(Found(networks), choice)
    write_document(document, Path(path))


_MISSING: Mapping[str, str] = {
    "study": f"it wants correlations, or {LEAST} networks with a known outcome",
    "comparison": "it wants a comparison, or two networks that were analyzed",
    "networks": "it wants a network that was analyzed",
    "training": "it wants a run folder with a history.csv",
    "surfaces": "it wants a surface (.npz)",
}


def _study(found: Found, choice: Choice, notes: list[str]) -> Told:
    told: Told = []
    for place, study in enumerate(found.studies, start=1):
        key = "study" if place == 1 else f"study-{place}"
        part = study_part(study.result, key=key, origin=origin_facts([study.origin]))
        told.append((part, [study.origin]))
    asked = "study" in choice.sections
    evidence = [network.evidence for network in found.networks]
    if told or (len(evidence) < LEAST and not asked):
        return told
    for place, target in enumerate(choice.targets, start=1):
        try:
            result = run_study(study_of(evidence, target=target, allow_mixed=choice.allow_mixed))
        except OptionError as error:
            if asked:
                raise
            notes.append(f"no study: {error}")
            continue
        told.append((study_part(result, key="study" if place == 1 else f"study-{place}"), _origins(found.networks)))
    return told


def _comparison(found: Found, choice: Choice, notes: list[str]) -> Told:
    told: Told = []
    for place, compared in enumerate(found.comparisons, start=1):
        key = "comparison" if place == 1 else f"comparison-{place}"
        part = comparison_part(compared.result, key=key, origin=origin_facts([compared.origin]))
        told.append((part, [compared.origin]))
    evidence = [network.evidence for network in found.networks]
    if told or len(evidence) < 2:
        return told
    if len(evidence) > SIDE_BY_SIDE and "comparison" not in choice.sections:
        notes.append(f"no comparison of {len(evidence)} networks: --sections comparison makes it all the same")
        return []
    different = differences(evidence, network=False)
    if different and not choice.allow_mixed:
        raise OptionError(
            f"these are analyses of different things ({'; '.join(different)}); analyze them alike, or give "
            "--allow-mixed."
        )
    result = compare(evidence, allow_different=choice.allow_mixed)
    part = comparison_part(result, analyses=[one.analysis for one in evidence])
    return [(part, _origins(found.networks))]


def _networks(found: Found, choice: Choice, notes: list[str]) -> Told:
    chosen = _chosen(found.networks, choice.networks, notes)
    told: Told = []
    for place, network in enumerate(chosen, start=1):
        origins = _origins([network])
        key = "network" if len(chosen) == 1 else f"network-{place}"
        evidence = network.evidence
        part = network_part(evidence.analysis, title=evidence.name, key=key, origin=origin_facts(origins))
        told.append((part, origins))
    return told


def _chosen(networks: Sequence[Network], wanted: Sequence[str], notes: list[str]) -> list[Network]:
    if list(wanted) == ["all"]:
        return list(networks)
    if list(wanted) == ["none"]:
        return []
    if not wanted and len(networks) <= PAGES:
        return list(networks)
    if not wanted or list(wanted) == ["best"]:
        known = [network for network in networks if "test_accuracy" in network.evidence.metrics]
        if not known:
            notes.append("no network has pages of its own: no test accuracy is known; --networks all, or names")
            return []
        best = best_of([network.evidence for network in known])
        if not wanted:
            notes.append(
                f"of {len(networks)} networks the best has pages of its own ({best.name}); --networks all, or names"
            )
        return [network for network in known if network.evidence is best]
    by_name = {network.evidence.name: network for network in networks}
    for name in wanted:
        if name not in by_name:
            raise OptionError(f"--networks: there is no network {name!r}.{near(name, by_name)}")
    return [by_name[name] for name in wanted]


def best_of(networks: Sequence[Evidence]) -> Evidence:
    """The network of the highest test accuracy; of several the one of the lowest test loss, then the first."""
    return max(
        networks,
        key=lambda one: (one.metrics.get("test_accuracy", -1.0), -one.metrics.get("test_loss", float("inf"))),
    )


def _training(found: Found, choice: Choice, notes: list[str]) -> Told:
    trainings = found.trainings
    if not trainings:
        return []
    if len(trainings) > SIDE_BY_SIDE and "training" not in choice.sections:
        notes.append(f"no curves of {len(trainings)} runs: --sections training draws them all the same")
        return []
    origins = [origin for training in trainings for origin in training.origins]
    own = origin_facts(origins) if len(trainings) == 1 else []
    return [(training_part([training.run for training in trainings], origin=own), origins)]


def _surfaces(found: Found, choice: Choice, notes: list[str]) -> Told:
    names = numbered([piece.origin.path.name for piece in found.surfaces])
    told: Told = []
    for place, (piece, name) in enumerate(zip(found.surfaces, names, strict=True), start=1):
        key = "surface" if len(names) == 1 else f"surface-{place}"
        told.append(
            (surface_part(piece.surface, name=name, key=key, origin=origin_facts([piece.origin])), [piece.origin])
        )
    return told


def _origins(networks: Sequence[Network]) -> list[Origin]:
    return list(dict.fromkeys(network.origin for network in networks if network.origin is not None))


def _title(parts: Sequence[Part], found: Found) -> str:
    first = parts[0]
    if len(parts) > 1 and first.key == "study":
        return f"A study of {len(found.studies[0].result.names if found.studies else found.networks)} networks"
    if len(parts) > 1 and first.key == "comparison":
        return f"{len(found.comparisons[0].result.names if found.comparisons else found.networks)} networks compared"
    return first.title
