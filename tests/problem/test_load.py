"""`load` and problem files: from a checkpoint to the same problem that its parts make by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import landscape
from landscape.data import Normalization, load_images, parse_data, prepare
from landscape.errors import CheckpointError, DataError, LandscapeError, NonFiniteError, OptionError, ProblemError
from landscape.measures import evaluate
from landscape.models import build_model, parse_model
from landscape.problem.load import load, load_problem_file

MODEL = "mlp:depth=2,width=8"


def network() -> nn.Module:
    return build_model(parse_model(MODEL), classes=10, channels=1, size=8, seed=1)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's checkpoint of a network on the digits: a wrapped state dict that describes nothing."""
    path = tmp_path_factory.mktemp("checkpoints") / "net.pt"
    torch.save({"epoch": 3, "model_state": {f"module.{k}": v for k, v in network().state_dict().items()}}, path)
    return path


def test_a_foreign_checkpoint_is_the_problem_that_its_parts_make(foreign: Path) -> None:
    problem = load(
        foreign, model=MODEL, data="digits", split="test", normalize="0.3:0.4", key="model_state", samples="first:40"
    )
    images = load_images(parse_data("digits"), "test")
    x, y = prepare(images, Normalization((0.3,), (0.4,)), indices=torch.arange(40))
    by_hand = landscape.Problem(network(), nn.CrossEntropyLoss(), (x, y))
    assert evaluate(problem) == evaluate(by_hand)
    assert (len(problem), problem.population) == (40, len(images))
    about = problem.about
    assert (about["model"], about["data"], about["split"]) == (str(parse_model(MODEL)), "digits", "test")
    assert about["checkpoint"]["path"] == str(foreign)
    assert len(about["checkpoint"]["sha256"]) == 64


def test_samples_are_a_fixed_subset_of_the_split(foreign: Path) -> None:
    def read(samples: Any, seed: int = 0) -> landscape.Problem:
        return load(foreign, model=MODEL, data="digits", key="model_state", samples=samples, seed=seed)

    whole, chosen = read("all"), read("30")
    assert whole.population == len(whole)
    assert (len(chosen), chosen.population) == (30, len(whole))
    assert torch.equal(chosen.data[0], read(30).data[0])
    assert not torch.equal(chosen.data[0], read("30", seed=1).data[0])
    assert torch.equal(read("first:30").data[0], whole.data[0][:30])
    assert len(read(None)) == min(2048, len(whole))


def test_own_network_and_data(foreign: Path) -> None:
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    data = (torch.randn(50, 1, 8, 8), torch.randint(10, (50,)))
    problem = load(foreign, model=model, data=data, key="model_state", dtype=torch.float64, batch_size=7)
    assert problem.model is model
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), network().parameters(), strict=True))
    assert (len(problem), problem.dtype, problem.batch_size) == (50, torch.float64, 7)
    assert problem.about["data"] == "given in Python"
    part = load(foreign, model=model, data=data, key="model_state", samples="20")
    assert (len(part), part.population) == (20, 50)
    other = load(foreign, model=model, data=data, key="model_state", loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert evaluate(other).loss != evaluate(problem).loss


def test_the_global_generator_is_left_alone(foreign: Path) -> None:
    before = torch.get_rng_state()
    load(foreign, model=MODEL, data="digits", key="model_state", samples="30")
    assert torch.equal(before, torch.get_rng_state())


WRONG: dict[str, tuple[dict[str, Any], type[LandscapeError], str]] = {
    "no network": ({"data": "digits"}, OptionError, "which network it is; name it: --model"),
    "no data": ({"model": MODEL}, OptionError, "which data it was trained on; name them: --data"),
    "a network": ({"model": "mlpp", "data": "digits"}, LandscapeError, "mlp"),
    "a data set": ({"model": MODEL, "data": "digit"}, LandscapeError, "digits"),
    "a split": ({"model": MODEL, "data": "digits", "split": "tset"}, LandscapeError, "test"),
    "another shape": ({"model": "mlp:depth=2,width=9", "data": "digits"}, CheckpointError, "(?s)8.*9"),
    "another depth": ({"model": "mlp:depth=3,width=8", "data": "digits"}, CheckpointError, "(?i)missing"),
    "too many samples": ({"model": MODEL, "data": "digits", "samples": "99999"}, DataError, "at most"),
    "a form of samples": ({"model": MODEL, "data": "digits", "samples": "last:3"}, OptionError, "first:N"),
    "zero samples": ({"model": MODEL, "data": "digits", "samples": "0"}, LandscapeError, "at least 1"),
    "a normalisation": (
        {"model": MODEL, "data": "digits", "normalize": "1,2:3"},
        LandscapeError,
        "as many deviations as means",
    ),
    "a device": ({"model": MODEL, "data": "digits", "device": "cuda:55"}, LandscapeError, "not there"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_a_line_or_two(name: str, foreign: Path) -> None:
    options, kind, words = WRONG[name]
    with pytest.raises(kind, match=words) as caught:
        load(foreign, key="model_state", **options)
    assert caught.value.exit_code == 2
    assert str(caught.value).count("\n") <= 4  # a mismatch lists names


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    state = network().state_dict()
    name = next(iter(state))
    state[name].view(-1)[0] = torch.nan
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(NonFiniteError, match=name):
        load(tmp_path / "bad.pt", model=MODEL, data="digits")


SEQUENCE = """
    import torch
    from torch import nn
    import landscape
    import beside_it

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)
        def forward(self, tokens):
            return self.head(self.embedding(tokens)).mT

    def problem(weights):
        model = Net()
        model.load_state_dict(weights)
        tokens = torch.arange(60).reshape(12, 5) % beside_it.WORDS
        return landscape.Problem(model, nn.CrossEntropyLoss(), (tokens, tokens.roll(-1, 1)))
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state: dict[str, Tensor] = {
        "embedding.weight": torch.ones(5, 3),
        "head.weight": torch.arange(15.0).view(5, 3),
        "head.bias": torch.zeros(5),
    }
    torch.save(state, tmp_path / "weights.pt")
    (tmp_path / "beside_it.py").write_text("WORDS = 5\n")
    return tmp_path / "weights.pt"


def test_a_problem_file_serves_any_network_loss_and_data(weights: Path) -> None:
    file = weights.parent / "mine.py"
    file.write_text(textwrap.dedent(SEQUENCE))
    problem = load_problem_file(file, weights, samples="first:7", dtype=torch.float64, batch_size=2)
    assert (len(problem), problem.population, problem.dtype, problem.batch_size) == (7, 12, torch.float64, 2)
    assert torch.equal(problem.parameters["embedding.weight"], torch.ones(5, 3, dtype=torch.float64))
    assert (problem.about["data"], problem.about["model"]) == ("mine.py", "Net")
    assert problem.about["checkpoint"]["path"] == str(weights)
    analysis = landscape.analyze(problem, budget=12)
    assert {n for n, r in analysis.measures.items() if r.skipped} == {"margin", "jacobian_norm"}


BROKEN = {
    "no function": ("x = 1", "does not define problem"),
    "not a function": ("problem = 3", "does not define problem"),
    "another result": ("def problem(weights):\n    return 3", "must return a landscape.Problem, got int"),
    "an error inside": (
        "def problem(weights):\n    y = 2\n    return weights['gone']",
        "mine.py:3 fails: KeyError",
    ),
    "no Python": ("def problem(weights:", r"mine.py.* fails: SyntaxError"),
    "a missing module": ("import not_there_at_all", "mine.py:1 fails: ModuleNotFoundError"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_problem_file_that_fails_says_where(name: str, weights: Path) -> None:
    text, words = BROKEN[name]
    file = weights.parent / "mine.py"
    file.write_text(text)
    with pytest.raises(ProblemError, match=words) as caught:
        load_problem_file(file, weights)
    assert str(caught.value).count("\n") <= 1


def test_a_problem_file_that_is_not_there(weights: Path) -> None:
    with pytest.raises(ProblemError, match=r"no file .*expected a Python file"):
        load_problem_file(weights.parent / "gone.py", weights)
    (weights.parent / "notes.txt").write_text("def problem(weights): ...")
    with pytest.raises(ProblemError, match="no Python file"):
        load_problem_file(weights.parent / "notes.txt", weights)
