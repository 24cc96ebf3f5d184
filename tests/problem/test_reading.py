"""Outputs that hold `logits`, dict batches, shifted labels: the function of the plain network beside plain labels."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from cases import case
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import landscape
from landscape import LandscapeError, Problem, Reading, Record
from landscape.errors import DataError, ModelError, OptionError, ProblemError
from landscape.measures import MEASURES, evaluate
from landscape.problem import READINGS

CE = nn.CrossEntropyLoss()
# every step of an algorithm, no convergence
SETTINGS = {"rtol": 0.05, "budget": 7.2, "top": 1, "connectivity_batch": 8, "seed": 3, "by": "role"}


class Output(OrderedDict[str, Tensor]):
    """As transformers hands over: a mapping whose items are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class HuggingFaceLike(nn.Module):
    """A causal language model that is called by keywords and gives logits (N, T, K) and more."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        assert attention_mask is not None
        logits = self.body(input_ids).mT
        return Output(logits=logits, hidden=logits.sum(1))


class Wrapped(nn.Module):
    """A network whose outputs are what `wrap` makes of them."""

    def __init__(self, body: nn.Module, wrap: Any) -> None:
        super().__init__()
        self.body, self.wrap = body, wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.body(x))


def text() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """The language model of the table, its tokens, a mask, and labels as transformers takes them: not shifted."""
    small = case("language_model")
    mask = torch.ones_like(small.inputs)
    mask[::5, 2] = 0  # where the table's labels of the place before are ignored
    return small.model, small.inputs, mask, torch.where(mask == 1, small.inputs, -100)


class Items(Dataset[Any]):
    """A tokenized data set: dicts of lists of numbers."""

    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["labels"])

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {key: value[index].tolist() for key, value in self.batch.items()}


FORMS = {
    "a dict": lambda batch: batch,
    "a tokenizer's mapping": lambda batch: UserDict(batch),
    "a data set of lists": Items,
    "a loader of dicts": lambda batch: DataLoader(
        Items(batch), 7, collate_fn=lambda rows: UserDict({k: torch.tensor([r[k] for r in rows]) for k in rows[0]})
    ),
    "a pair": lambda batch: (
        UserDict({k: batch[k] for k in ("input_ids", "attention_mask")}), batch["labels"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_dict_batches_in_every_form(form: str) -> None:
    model, tokens, mask, labels = text()
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    problem = Problem(HuggingFaceLike(model), CE, FORMS[form](batch), reading="next-token")
    expected = evaluate(case("language_model").problem())
    found = evaluate(problem)
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert (found.accuracy, found.classes) == (expected.accuracy, expected.classes)
    assert problem.samples.targets.shape == labels.shape  # as they were given
    part = problem.choose(torch.arange(9), batch_size=4)
    assert evaluate(part) == evaluate(problem.choose(torch.arange(9)))
    assert next(part.batches()).targets.shape == (4, 2)


@pytest.mark.parametrize("entry", MEASURES)
def test_every_measure_is_that_of_the_plain_network(entry: str) -> None:
    """The parameters have other names and the same order; every number is the same to rounding."""
    small = case("language_model")
    model, tokens, mask, labels = text()
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    wrapped = Problem(HuggingFaceLike(model), CE, batch, reading="next-token")
    options = {key: SETTINGS[key] for key in MEASURES[entry].options if key in SETTINGS}
    plain = Problem(Wrapped(model, lambda f: f[..., :-1]), CE, (tokens, small.targets[:, :-1]))  # no more is compared
    found, expected = (_measure(entry, problem, options) for problem in (wrapped, plain))
    if isinstance(found, str) or isinstance(expected, str):
        assert found == expected  # does not apply, for the same reason
        return
    assert found.value == pytest.approx(expected.value, rel=1e-9, nan_ok=True)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-6, abs=1e-12, nan_ok=True)
    assert dict(found.groups) == pytest.approx(dict(expected.groups), rel=1e-9, abs=1e-12, nan_ok=True)


def _measure(entry: str, problem: Problem, options: dict[str, Any]) -> Record | str:
    try:
        return MEASURES[entry].function(problem, **options)
    except LandscapeError as error:
        return str(error)


@dataclass
class Plain:
    logits: Tensor


READ: dict[str, tuple[Any, str | Reading | None]] = {
    "a dict": (lambda f: {"logits": f, "features": f[:, :1]}, None),
    "a ModelOutput": (lambda f: Output(logits=f), None),
    "an object": (Plain, "logits"),
    "a tuple": (lambda f: (f, f[:, :1]), "first"),
    "a reading of one's own": (lambda f: {"out": f}, Reading("out", lambda outputs: outputs["out"])),
    "labels of one's own": (lambda f: f, Reading("labels", labels=lambda y: y)),
}


@pytest.mark.parametrize("name", READ)
def test_outputs_that_are_no_tensor_are_read_once_for_all_measures(name: str) -> None:
    wrap, reading = READ[name]
    small = case("batch_norm")
    problem = Problem(Wrapped(small.model, wrap), CE, (small.inputs, small.targets), reading=reading)
    analysis = landscape.analyze(problem, budget=12)
    plain = landscape.analyze(small.problem(), budget=12)
    for measure, record in analysis.measures.items():
        assert record.skipped == plain.measures[measure].skipped
        assert record.value == pytest.approx(plain.measures[measure].value, rel=1e-9), measure


def test_places_of_a_tagger_and_pixels_of_a_segmentation() -> None:
    """Logits (N, T, K) of a sequence are turned, those of an image (N, K, H, W) have the classes in their place."""
    small = case("lstm")
    turned = Problem(Wrapped(small.model, lambda f: {"logits": f.mT}), small.loss, (small.inputs, small.targets))
    assert evaluate(turned).loss == pytest.approx(evaluate(small.problem()).loss, rel=1e-12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, x, y = nn.Conv2d(1, 3, 1), torch.randn(5, 1, 2, 2), torch.randint(3, (5, 2, 2))
    pixels = Problem(Wrapped(net, lambda f: {"logits": f}), CE, (x, y))
    assert evaluate(pixels).loss == pytest.approx(float(CE(net(x), y).detach()), rel=1e-6)


def test_a_loss_of_ones_own_gets_the_outputs_as_they_are() -> None:
    small = case("logistic_regression")
    model = Wrapped(small.model, lambda f: {"logits": f})
    problem = Problem(model, lambda out, y: CE(out["logits"], y), (small.inputs, small.targets))
    assert problem.reading is READINGS["plain"]
    assert evaluate(problem).loss == pytest.approx(evaluate(small.problem()).loss, rel=1e-12)


def test_labels_that_are_the_tokens_themselves_are_refused() -> None:
    model, tokens, mask, labels = text()
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    with pytest.raises(ProblemError, match="reading='next-token'") as caught:
        Problem(HuggingFaceLike(model), CE, batch)
    assert "\n" not in str(caught.value)
    asked = Problem(HuggingFaceLike(model), CE, batch, reading="logits")  # an autoencoder may want that
    assert next(asked.batches()).targets.shape[1] == 3
    masked = torch.where(torch.arange(len(labels))[:, None] % 2 == 0, (labels + 1) % 4, -100)
    Problem(HuggingFaceLike(model), CE, {**batch, "labels": masked})


TEXT = {"input_ids": torch.zeros(4, 3, dtype=torch.long), "attention_mask": torch.ones(4, 3)}
WRONG: dict[str, tuple[Any, Any, Any, type[LandscapeError], str]] = {
    "an unknown name": (lambda f: f, "next-tokn", None, OptionError, "next-token"),
    "no such field": (lambda f: {"out": f}, "logits", None, ModelError, r"no 'logits' \(they are: out\)"),
    "an object without it": (lambda f: (f, f), "logits", None, ModelError, r"no 'logits' \(they are: tuple\)"),
    "no tuple": (lambda f: f, "first", None, ModelError, "not a tuple"),
    "no sequence": (lambda f: f, "next-token", None, ProblemError, r"labels \(N, T\)"),
    "no labels": (lambda f: f, None, TEXT, DataError, "got dict of input_ids, attention_mask; a dict needs 'labels'"),
    "labels alone": (lambda f: f, None, {"labels": torch.zeros(4)}, DataError, "beside the network's inputs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_said_in_one_line(name: str) -> None:
    wrap, reading, data, kind, words = WRONG[name]
    small = case("logistic_regression")
    with pytest.raises(kind, match=words) as caught:
        Problem(Wrapped(small.model, wrap), CE, data or (small.inputs, small.targets), reading=reading)
    assert "\n" not in str(caught.value)


def test_a_network_that_writes_into_its_inputs_leaves_the_samples_alone() -> None:
    """The trap: a first activation in place changes the data that the next pass takes, and bars the slope in them."""
    small = case("mlp_regressor")
    before = small.inputs.clone()
    problem = small.problem()
    first = evaluate(problem)
    assert landscape.jacobian_norm(problem).value > 0
    assert evaluate(problem) == first
    assert torch.equal(small.inputs, before)
