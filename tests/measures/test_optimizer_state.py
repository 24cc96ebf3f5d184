"""What a checkpoint says of its training, and the measures that ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from cases import N, case, labels, normal
from torch import nn

import landscape
from landscape import Problem
from landscape.checkpoint import read_checkpoint
from landscape.errors import CheckpointError, NotApplicableError
from landscape.measures.optimizer_state import effective_learning_rate, preconditioned_sharpness
from landscape.problem.training_facts import AdamState, TrainingFacts, training_facts
from landscape_cli.main import main


def trained(optimizer: str, **options: Any) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.optim.Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        x, y = normal(N, 4), labels(3)
        built = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **options)
        for _ in range(5):
            built.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            built.step()
    return model, x, y, built


def saved(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, key: str = "optimizer") -> Path:
    path = folder / "net.pt"
    state: Any = optimizer.state_dict()
    torch.save({"state_dict": model.state_dict(), key: [state] if key == "optimizer_states" else state}, path)
    return path


@pytest.mark.parametrize("key", ["optimizer", "optimizer_state_dict", "optimizer_states"])
def test_preconditioned_sharpness_is_that_of_the_dense_matrix(tmp_path: Path, key: str) -> None:
    """P by Adam's own rule from the state that torch keeps, H dense."""
    model, x, y, optimizer = trained("Adam", betas=(0.8, 0.95), eps=1e-3)
    problem = landscape.load(saved(tmp_path, model, optimizer, key), model=model, data=(x, y))
    v = torch.cat([optimizer.state[p]["exp_avg_sq"].reshape(-1) for p in model.parameters()]).numpy()
    P = (1 - 0.8**5) * (np.sqrt(v / (1 - 0.95**5)) + 1e-3)
    H = oracles.hessian(oracles.Function(model, nn.CrossEntropyLoss(), x, y, np.ones(N)))
    expected = np.linalg.eigvals(H / P[:, None]).real.max()
    record = preconditioned_sharpness(problem, rtol=1e-6)
    assert record.converged
    assert record.value == pytest.approx(expected, rel=1e-5)
    assert record.details["edge"] == pytest.approx(3.6 / 0.2 / 0.01, rel=1e-12)
    assert record.details["steps"] == 5


def test_other_optimizers_have_rates_and_no_preconditioner(tmp_path: Path) -> None:
    model, _, _, optimizer = trained("SGD", momentum=0.9)
    facts = training_facts(read_checkpoint(saved(tmp_path, model, optimizer)), model)
    assert facts.rates == dict.fromkeys(dict(model.named_parameters()), 0.01)
    assert facts.adam is None
    assert facts.initial is None
    with pytest.raises(NotApplicableError, match="no state of Adam"):
        preconditioned_sharpness(case("frozen").problem(training=facts))


def test_named_groups_give_each_parameter_its_own_rate(tmp_path: Path) -> None:
    model, *_ = trained("SGD")
    named = dict(model.named_parameters())
    groups = [
        {"params": [("2.weight", named["2.weight"]), ("2.bias", named["2.bias"])], "lr": 0.5},
        {"params": [("0.weight", named["0.weight"]), ("0.bias", named["0.bias"])], "lr": 0.25},
    ]
    optimizer = torch.optim.SGD(groups)
    facts = training_facts(read_checkpoint(saved(tmp_path, model, optimizer)), model)
    assert facts.rates == {"2.weight": 0.5, "2.bias": 0.5, "0.weight": 0.25, "0.bias": 0.25}


@pytest.mark.parametrize(
    "state",
    [
        {"state": {}, "param_groups": []},
        {"state": [], "param_groups": [{"lr": 1.0, "params": [0]}]},
        {"state": {}, "param_groups": [{"params": [0]}]},
        {"state": {}, "param_groups": [{"lr": 1.0, "betas": (0.9, 0.99), "eps": 1e-8, "params": [0]}]},
        {"state": {0: {"exp_avg_sq": torch.zeros(7), "step": 3}}, "param_groups": [{"lr": 1.0, "params": [0]}]},
    ],
)
def test_a_state_of_another_form_is_not_known(tmp_path: Path, state: dict[str, Any]) -> None:
    model = nn.Linear(2, 2, bias=False)
    path = tmp_path / "net.pt"
    torch.save({"state_dict": model.state_dict(), "optimizer": state}, path)
    assert training_facts(read_checkpoint(path), model).adam is None


def test_effective_rates_of_the_layers_before_a_normalisation() -> None:
    small = case("batch_norm")
    names = [name for name, _ in small.model.named_parameters()]
    rates = {name: 0.1 * (k + 1) for k, name in enumerate(names)}
    record = effective_learning_rate(small.problem(training=TrainingFacts(rates=rates)))
    expected = {
        layer: rates[f"{layer}.weight"] / float(small.model[int(layer)].weight.detach().square().sum())
        for layer in ("0", "3")
    }
    assert record.groups == pytest.approx(expected, rel=1e-12)
    assert record.value == pytest.approx(np.median(list(expected.values())), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("batch_norm", TrainingFacts(), "state of its optimizer"),
        ("frozen", TrainingFacts(rates={"4.bias": 0.1}), "feeds"),
    ],
)
def test_where_it_does_not_apply_it_says_why(name: str, facts: TrainingFacts, words: str) -> None:
    with pytest.raises(NotApplicableError, match=words):
        effective_learning_rate(case(name).problem(training=facts))


def test_a_run_folder_knows_its_initial_weights_and_its_optimizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--model", "mlp", "--epochs", "1", "--optimizer", "adam", "--out", "run", "-q"]
    assert main(["train", *options]) == 0
    problem = landscape.load("run/final.pt", samples="first:32")
    start = read_checkpoint("run/checkpoints/epoch-0000.pt").tensors
    assert problem.training.initial is not None
    assert all(torch.equal(problem.training.initial[name], start[name]) for name in problem.parameters)
    assert isinstance(problem.training.adam, AdamState)
    analysis = landscape.analyze(problem, ["frobenius_distance", "preconditioned_sharpness"], rtol=0.3)
    assert all(record.skipped is None for record in analysis.measures.values())
    Path("run/final.pt").rename("moved.pt")
    assert landscape.load("moved.pt", samples="first:32").training.initial is None
    given = landscape.load("moved.pt", samples="first:32", initial="run/checkpoints/epoch-0000.pt")
    assert given.training.initial is not None
    torch.save({"other.weight": torch.zeros(2)}, "other.pt")
    with pytest.raises(CheckpointError, match="holds no initial weights of this network"):
        landscape.load("moved.pt", samples="first:32", initial="other.pt")


def test_the_training_is_part_of_what_a_cached_value_depends_on(tmp_path: Path) -> None:
    small = case("relu_without_bias")
    values = []
    for shift in (0.5, 1.0):
        initial = {name: p.detach() + shift for name, p in small.model.named_parameters()}
        problem: Problem = small.problem(training=TrainingFacts(initial=initial))
        analysis = landscape.analyze(problem, ["frobenius_distance", "connectivity"], cache=tmp_path)
        values.append((analysis.measures["frobenius_distance"].value, analysis.total["cached"]))
    assert values[1][0] == pytest.approx(2 * values[0][0], rel=1e-12)
    assert values[1][1] == ["connectivity"]
