"""From a checkpoint to an invariance study: the same function by other parameters, and which measures moved."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import landscape
from landscape.catalog import expand
from landscape.checkpoint import read_checkpoint, write_checkpoint
from landscape.config.analysis import AnalysisRun, AnalysisSettings
from landscape.config.invariance import TRANSFORMS, InvarianceSettings
from landscape.data import Normalization, parse_data
from landscape.distributed import ALONE, Group
from landscape.errors import NotApplicableError, OptionError, near
from landscape.float32_products import full_products
from landscape.measures import MEASURES
from landscape.problem import Problem
from landscape.problem.batch_norm import Fold
from landscape.problem.folding import find_folds, pairs_of
from landscape.records import Record
from landscape.reparameterisation.choice import choose_units
from landscape.reparameterisation.structure import Kind, Structure, find_structure, least_factor
from landscape.reparameterisation.variants import Variant, folded_variant, largest_change, put_tensors, rescaled_variant
from landscape.state_dict import few
from landscape.workflows.analyze import analyze
from landscape.workflows.events import Interrupted
from landscape.workflows.invariance_document import Invariance
from landscape.workflows.invariance_document import Variant as VariantRecord
from landscape.workflows.out_of_memory import memory_errors
from landscape.workflows.source import Source

Plan = tuple[str, float | None]
"""A transformation and its factor."""

OnProgress = Callable[[str, str, int, int], None]
"""(the variant, the measure, number done, number in all)"""

ORIGINAL = "original"

_OPTIONS = {"rtol", "budget", "top", "connectivity_batch", "seed", "by", "engine", "hvp"}


class InvarianceInterrupted(KeyboardInterrupt):
    """The user stopped the study; `partial` holds what every variant has."""

    def __init__(self, partial: Invariance) -> None:
        super().__init__()
        self.partial = partial


@dataclass(frozen=True)
class _Made:
    """A variant to measure, with how many units it has."""

    plan: Plan
    units: int
    of: int
    variant: Variant


@full_products()
def invariance_checkpoint(
    path: Path | str,
    *,
    settings: InvarianceSettings | None = None,
    analysis: AnalysisSettings | None = None,
    run: AnalysisRun | None = None,
    source: Source | None = None,
    save: Path | None = None,
    measure: bool = True,
    on_progress: OnProgress | None = None,
    cache: bool | Path = True,
    group: Group = ALONE,
) -> Invariance:
    """Measure a checkpoint and the same function by other parameters.

    Args:
        path: the checkpoint.
        settings: the transformations.
        analysis: the measures; without one the default ones, in float64.
        run: how it is run.
        source: where the network and the data come from.
        save: where the transformed network goes; there must be one alone.
        measure: whether anything is measured, or the outputs compared alone.
        on_progress: hears of the progress.
        cache: as in `analyze`.
        group: the processes that share the samples; each calls this function and gets the same study.

    Raises:
        NotApplicableError: the network has no place for a transformation that was named, or for any.
        LandscapeError: what is wrong with the file, the data or the options.
        InvarianceInterrupted: Ctrl-C; carries what was finished.
    """
    settings, run, source = settings or InvarianceSettings(), run or AnalysisRun(), source or Source()
    analysis = analysis or AnalysisSettings(dtype="float64")
    names = measures_of(analysis) if measure else []
    if analysis.bn != "eval":
        raise OptionError("an invariance study needs batch normalisation by the running statistics: bn eval.")
    with memory_errors(run.batch_size):
        problem = source.problem(
            path,
            split=analysis.split,
            samples=analysis.samples,
            seed=analysis.seed,
            dtype=analysis.dtype,
            device=group.device,
            batch_size=run.batch_size,
        ).across(group)
        structure, folds = find_structure(problem), find_folds(problem)
        chosen, not_done = _chosen(structure, folds, settings, analysis.seed)
        if save is not None and len(chosen) != 1:
            raise OptionError(
                f"--save keeps one network, and these are {len(chosen)}; name one --transform and one of --factors."
            )
        made = [
            _Made(plan, *_counts(plan, structure, folds, units), _variant(problem, structure, folds, plan, units))
            for plan, units in chosen.items()
        ]
        saved = {} if save is None else _save(save, Path(path), source, problem, made[0], folds, settings)
        study = _Study(problem, structure, folds, made, not_done, settings, analysis, saved)
        return study.measured(names, on_progress, cache)


def measures_of(analysis: AnalysisSettings) -> list[str]:
    """The measures of a study, cheap ones first.

    Raises:
        OptionError: a name is unknown.
    """
    names = expand(analysis.measures)
    for name in names:
        if name not in MEASURES:
            raise OptionError(f"unknown measure {name!r}.{near(name, MEASURES)}")
    return sorted(names, key=_stage)


def _stage(name: str) -> int:
    """0 exact in a pass or a few, 1 estimated within a budget, 2 from the Krylov run."""
    measure = MEASURES[name]
    return 2 if measure.krylov is not None else 1 if "budget" in measure.options else 0


def _chosen(
    structure: Structure, folds: Sequence[Fold], settings: InvarianceSettings, seed: int
) -> tuple[dict[Plan, list[int]], dict[str, str]]:
    """The units of each variant, and why a transformation is not done."""
    chosen: dict[Plan, list[int]] = {}
    not_done: dict[str, str] = {}
    for transform in settings.transforms or TRANSFORMS:
        if transform == "fold":
            if folds:
                chosen["fold", None] = []
            else:
                not_done["fold"] = "no batch normalisation has a layer of its own before it"
            continue
        kind: Kind = "rho" if transform == "rho" else "scale"
        if not structure.of_kind(kind):
            not_done[kind] = _why_none(structure, kind)
            continue
        units = choose_units(structure, kind, settings.units, seed)
        if units:
            chosen |= {(kind, c): units for c in settings.factors}
        else:
            not_done[kind] = f"--units {settings.units} names none of this kind"
    for transform in settings.transforms:
        if transform in not_done:
            raise NotApplicableError(f"{transform} has no place in this network: {not_done[transform]}.")
    if not chosen:
        told = "; ".join(f"{name}: {reason}" for name, reason in not_done.items())
        raise NotApplicableError(f"no transformation has a place in this network: {told}.")
    return chosen, not_done


def _why_none(structure: Structure, kind: str) -> str:
    if kind == "scale":
        return "no layer feeds a batch normalisation"
    reasons = [f"{layer} meets {why}" for layer, why in structure.left_out.items() if why != "the network's output"]
    return "no unit can be rescaled" + (f" ({few(reasons)})" if reasons else "")


def _variant(
    problem: Problem, structure: Structure, folds: Sequence[Fold], plan: Plan, units: Sequence[int]
) -> Variant:
    transform, c = plan
    if transform == "fold":
        return folded_variant(problem, folds)
    assert c is not None, "a rescaling has a factor"
    factors = np.ones(len(structure.units))
    factors[list(units)] = c
    least = least_factor(structure, problem.tensors)
    below = int((factors < least).sum())
    if below:
        raise OptionError(
            f"--factors: {c:g} would make the running variance of {below} channels negative; the "
            f"smallest factor for these units is {least[list(units)].max():.3g}."
        )
    return rescaled_variant(problem, structure, factors)


def _counts(plan: Plan, structure: Structure, folds: Sequence[Fold], units: Sequence[int]) -> tuple[int, int]:
    if plan[0] == "fold":
        return len(folds), len(folds)
    return len(units), len(structure.of_kind("rho" if plan[0] == "rho" else "scale"))


@dataclass(frozen=True)
class _Study:
    """The networks that are measured, and what the document says of them."""

    problem: Problem
    structure: Structure
    folds: Sequence[Fold]
    made: Sequence[_Made]
    not_done: Mapping[str, str]
    settings: InvarianceSettings
    analysis: AnalysisSettings
    saved: Mapping[str, Any]

    def measured(self, names: Sequence[str], on_progress: OnProgress | None, cache: bool | Path) -> Invariance:
        """Measure, stage after stage, so that cheap measures of all variants are there before costly ones begin."""
        subjects = [(ORIGINAL, self.problem), *((_label(one.plan), one.variant.problem) for one in self.made)]
        records: list[dict[str, Record]] = [{} for _ in subjects]
        tell: OnProgress = on_progress or (lambda *_: None)
        options = self.analysis.model_dump(include=_OPTIONS)
        total, done = len(names) * len(subjects), 0
        try:
            for stage in range(3):
                wanted = [name for name in names if _stage(name) == stage]
                for (label, subject), known in zip(subjects if wanted else (), records, strict=False):
                    tell(label, ", ".join(wanted), done, total)
                    own = {name: values for name, values in self.analysis.options.items() if name in wanted}
                    known |= analyze(subject, wanted, cache=cache, options=own, **options).measures
                    done += len(wanted)
        except Interrupted as stop:
            raise InvarianceInterrupted(self._document(names, records)) from stop
        tell("", "", total, total)
        for name in self.analysis.measures:
            if name in names and records[0][name].skipped is not None and len(names) == 1:
                raise NotApplicableError(f"{name} does not apply: {records[0][name].skipped}")
        return self._document(names, records)

    def _document(self, names: Sequence[str], records: Sequence[Mapping[str, Record]]) -> Invariance:
        found = [
            VariantRecord(*one.plan, one.units, one.of, one.variant.change, one.variant.size, known)
            for one, known in zip(self.made, records[1:], strict=True)
        ]
        settings = {**self.analysis.model_dump(), **self.settings.model_dump(), "measures": list(names)}
        known = {key: value for key, value in self.problem.about.items() if key != "checkpoint"}
        return Invariance(
            original=records[0],
            variants=tuple(found),
            problem={
                **known,
                "samples": len(self.problem),
                "available": self.problem.population,
                "parameters": self.problem.size,
                "loss_name": self.problem.loss_name,
                "dtype": str(self.problem.dtype).removeprefix("torch."),
                "device": str(self.problem.device),
            },
            settings={**settings, "samples": self.analysis.samples or str(len(self.problem))},
            structure={
                **{kind: len(self.structure.of_kind(kind)) for kind in ("rho", "scale")},
                "fold": len(self.folds),
                "left_out": dict(self.structure.left_out),
                "not_done": dict(self.not_done),
            },
            checkpoint=self.problem.about.get("checkpoint", {}),
            saved=self.saved,
            provenance={
                "landscape": landscape.__version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def _label(plan: Plan) -> str:
    return plan[0] if plan[1] is None else f"{plan[0]}, c = {plan[1]:g}"


def _save(
    out: Path,
    path: Path,
    source: Source,
    problem: Problem,
    made: _Made,
    folds: Sequence[Fold],
    settings: InvarianceSettings,
) -> dict[str, Any]:
    """Write the transformed network in the dtypes of the one that it comes from; says what their rounding changed."""
    model = made.variant.problem.model
    kinds = {name: tensor.dtype for name, tensor in problem.model.state_dict().items()}
    usual = next(p.dtype for p in problem.model.parameters())
    exact = {name: tensor.clone() for name, tensor in made.variant.problem.tensors.items()}
    rounded = {name: tensor.to(kinds.get(name, usual)) for name, tensor in exact.items()}
    put_tensors(model, rounded)
    change, _ = largest_change(problem, made.variant.problem)
    tensors = {
        name: tensor.detach().to(device="cpu", dtype=kinds.get(name, usual)).clone()
        for name, tensor in model.state_dict().items()
    }
    put_tensors(model, exact)
    description = dict(read_checkpoint(path, source.key).description or {})
    if source.model is not None:
        description["model"] = source.model
    if source.data is not None:
        spec = parse_data(source.data)
        description["data"] = str(spec if spec.folder is None else replace(spec, folder=spec.folder.resolve()))
    if "normalization" in problem.about:
        used = Normalization.parse(str(problem.about["normalization"]))
        description["normalization"] = {"mean": list(used.mean), "std": list(used.std)}
    if made.plan[0] == "fold":
        description["folded"] = [*description.get("folded", []), *(list(pair) for pair in pairs_of(folds))]
    transform, c = made.plan
    description["reparameterised"] = {"transform": transform, "c": c, "units": settings.units, "change": change}
    if problem.group.rank == 0:
        write_checkpoint(out, {"state_dict": tensors, "description": description})
    return {"path": str(out), "change": change}
