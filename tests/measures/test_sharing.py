"""What measures share is computed once, and each is told its cost as if it were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import case

import landscape
from landscape import analyze
from landscape.measures.sharing import Shared

TOGETHER = [
    "fisher_rao", "ggn_trace", "fisher_trace", "gauss_newton_norm", "normalized_curvature_trace", "ctk_trace",
    "hessian_diagonal", "curvature_radius",
]  # fmt: skip


def alone(name: str, problem: landscape.Problem) -> dict[str, Any]:
    return plain(getattr(landscape, name)(problem).to_dict())


def plain(record: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in record.items() if key not in ("seconds", "peak_memory", "cost")}


@pytest.mark.parametrize("order", [TOGETHER, TOGETHER[::-1]])
def test_an_analysis_gives_what_each_gives_alone_for_less_work(order: list[str]) -> None:
    problem = case("batch_norm").problem()
    analysis = analyze(problem, order)
    told = 0.0
    for name, record in analysis.measures.items():
        assert plain(record.to_dict()) == alone(name, problem), name
        assert record.cost == pytest.approx(getattr(landscape, name)(problem).cost), name
        told += record.cost
    assert analysis.total["cost"] < 0.6 * told


def test_a_density_is_the_same_to_the_last_bit_whether_eigenvalues_were_asked_for_too() -> None:
    """In float32, with a budget that lets eigenvalues take more steps than the density takes out."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4), torch.nn.ReLU(), torch.nn.Linear(4, 10))
    problem = landscape.Problem(model, torch.nn.CrossEntropyLoss(), (torch.randn(64, 8, 8), torch.arange(64) % 10))
    together = analyze(problem, ["top_eigenvalues", "spectral_density"], budget=40)
    for name, record in together.measures.items():
        assert plain(record.to_dict()) == plain(analyze(problem, [name], budget=40).measures[name].to_dict())


def test_it_is_forgotten_when_no_later_measure_needs_it() -> None:
    shared = Shared(case("logistic_regression").problem())
    calls = []
    for _ in range(2):
        assert shared.get("a", 1, lambda: calls.append("a") or 5) == 5
    assert shared.get("b", 1, lambda: 6) == 6
    shared.keep_only({"b"})
    assert shared.get("a", 1, lambda: calls.append("again") or 7) == 7
    assert calls == ["a", "again"]
