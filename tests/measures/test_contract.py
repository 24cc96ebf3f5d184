"""What every measure promises, over every problem of the table: a new measure or a new trap adds one row."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, Case, N, case

from landscape import LandscapeError, Problem, Record
from landscape.catalog import CATALOG
from landscape.measures import MEASURES as ALL_MEASURES

# few products: enough for every step of an algorithm to be taken, too few to converge (a density has 3 products)
SETTINGS = {"rtol": 0.05, "budget": 7.2, "top": 1, "connectivity_batch": 8, "seed": 3, "by": "role"}
# a noise scale needs more samples than a case has: it is held to the same in test_gradient_noise.py
MEASURES = {name: measure for name, measure in ALL_MEASURES.items() if name != "gradient_noise_scale"}
# settings that one measure alone has, where the default ones take long
OWN: dict[str, dict[str, Any]] = {
    "asam_sharpness": {"steps": 2, "m": 8},
    "average_sharpness": {"m": 8},
    "worst_sharpness": {"rho": 0.05, "steps": 2},
    "keskar_sharpness": {"epsilon": 0.02, "steps": 1, "restarts": 0},
    "pac_bayes_sigma": {"of": "loss"},  # which falls under noise whatever the labels are
    "pac_bayes_sigma_magnitude": {"of": "loss", "m": 8},
    "normalized_curvature_trace": {"layers": "all"},
    "local_learning_coefficient": {"nbeta": 10.0, "step_size": 1e-3, "chains": 2, "steps": 4, "m": 16},
}
# the maximum that they look for is not known: what they found is a lower bound without an error
LOWER_BOUNDS = {"asam_sharpness", "worst_sharpness", "keskar_sharpness"}


FEW = torch.arange(9)


def measure(name: str, problem: Problem) -> Record:
    entry = MEASURES[name]
    shared = {key: SETTINGS[key] for key in entry.options if key in SETTINGS}
    return entry.function(problem, **shared, **OWN.get(name, {}))


def state(model: torch.nn.Module) -> dict[str, Any]:
    """Everything of a model that a measure could change by accident."""
    kept: dict[str, Any] = {}
    for name, module in model.named_modules():
        kept[f"{name} flag"] = module.training
        kept[f"{name} keys"] = sorted(vars(module))
        kept[f"{name} hooks"] = [len(hooks) for key, hooks in sorted(vars(module).items()) if key.endswith("_hooks")]
        kept[f"{name} objects"] = [id(t) for t in (*module._parameters.values(), *module._buffers.values())]
        kept[f"{name} flat"] = [id(t) for t in vars(module).get("_flat_weights", [])]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        kept[f"{name} requires_grad"] = parameter.requires_grad
        kept[f"{name} version"] = parameter._version
        kept[f"{name} values"] = (parameter.detach().clone(), parameter.grad.clone())
    for name, buffer in model.named_buffers():
        kept[f"{name} buffer"] = (buffer.clone(),)
    return kept


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.mark.parametrize("name", CASES)
def test_no_measure_changes_the_model_or_the_generators(name: str) -> None:
    small = case(name)
    for parameter in small.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    small.model.train()
    next(small.model.modules()).training = False
    before = state(small.model)
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    grad_mode = torch.is_grad_enabled()
    kernels = (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.is_available())
    problem = small.problem(batch_size=16)
    for entry in MEASURES:
        if entry not in small.skipped:
            measure(entry, problem)
            after = state(small.model)
            assert before.keys() == after.keys()
            assert [key for key in before if not same(before[key], after[key])] == [], entry
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state[1].tolist() == np.random.get_state()[1].tolist()
    assert python_state == random.getstate()
    assert torch.is_grad_enabled() == grad_mode
    assert kernels == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.is_available())


@pytest.mark.parametrize("name", CASES)
def test_batch_size_and_repetition_change_nothing(name: str) -> None:
    """Error budget: other batches sum in another order, 1e-15 a sum, and five Lanczos steps amplify it a little."""
    small = case(name)
    for entry in MEASURES:
        if entry in small.skipped:
            continue
        records = {size: measure(entry, small.problem(batch_size=size)) for size in (N, 7, 32, 50)}
        for size, record in records.items():
            compare(record.to_dict(), records[N].to_dict(), f"{entry}, batch size {size}")
        assert plain(measure(entry, small.problem(batch_size=N))) == plain(records[N]), entry
        # passes of single samples cost most: of a few samples, and the density takes those of the eigenvalues
        if entry != "spectral_density":
            single, together = (measure(entry, small.problem(batch_size=size).choose(FEW)) for size in (1, N))
            compare(single.to_dict(), together.to_dict(), f"{entry}, batch size 1")


@pytest.mark.parametrize("name", CASES)
def test_measures_that_do_not_apply_say_so_and_the_others_give_numbers(name: str) -> None:
    small = case(name)
    problem = small.problem()
    for entry in MEASURES:
        if entry in small.skipped:
            with pytest.raises(LandscapeError) as caught:
                measure(entry, problem)
            assert "\n" not in str(caught.value)
        else:
            record = measure(entry, problem)
            assert math.isfinite(record.value), entry
            if entry in LOWER_BOUNDS:
                assert math.isnan(record.stderr), entry
            else:
                assert record.stderr >= 0, entry
            assert record.sampling_stderr == 0 or entry == "spectral_density", entry
            assert record.cost > 0 or CATALOG[entry].cost.startswith("0"), entry


@pytest.mark.parametrize("name", ["batch_norm", "weighted_and_ignored", "sequences", "recurrent"])
@pytest.mark.parametrize("entry", ["fisher_rao", "connectivity", "margin", "jacobian_norm"])
def test_exact_measures_do_not_depend_on_the_order_of_the_samples(name: str, entry: str) -> None:
    small = case(name)
    if entry in small.skipped:
        pytest.skip("does not apply")
    problem = small.problem()
    shuffled = problem.choose(torch.from_numpy(np.random.default_rng(0).permutation(N)))
    compare(measure(entry, shuffled).to_dict(), measure(entry, problem).to_dict(), entry)


@pytest.mark.parametrize("name", ["relu_without_bias", "batch_norm", "sequences"])
def test_single_precision_gives_the_same_numbers_to_its_own_rounding(name: str) -> None:
    """Error budget: 1e-7 a value, times a few hundred terms and layers, less than 1e-3 of the value."""
    small = case(name)
    twin = copy.deepcopy(small.model).float()
    inputs = small.inputs.float() if small.inputs.is_floating_point() else small.inputs
    single = Problem(twin, small.loss, (inputs, small.targets))
    assert single.dtype == torch.float32
    for entry in MEASURES:
        if entry not in small.skipped:
            assert measure(entry, single).value == pytest.approx(measure(entry, small.problem()).value, rel=1e-3), entry


@pytest.mark.parametrize("name", ["batch_norm", "weighted_and_ignored", "recurrent"])
def test_a_single_precision_model_is_measured_in_double_where_that_is_asked(name: str) -> None:
    small = case(name)
    twin = copy.deepcopy(small.model).float()
    loss = copy.deepcopy(small.loss).float() if isinstance(small.loss, torch.nn.Module) else small.loss
    rounded = Case(name, copy.deepcopy(twin).double(), small.loss, small.inputs.float().double(), small.targets)
    asked = Problem(twin, loss, (small.inputs.float(), small.targets), dtype=torch.float64)
    for entry in ("connectivity", "fisher_rao", "top_eigenvalues"):
        compare(measure(entry, asked).to_dict(), measure(entry, rounded.problem()).to_dict(), entry)
    assert next(twin.parameters()).dtype == torch.float32


def plain(record: Record) -> dict[str, Any]:
    return {key: str(value) for key, value in record.to_dict().items() if key not in ("seconds", "peak_memory")}


def compare(got: Any, expected: Any, where: str) -> None:
    """Every number of a record to rtol 1e-10 of the largest of its kind; everything else equal."""
    if isinstance(expected, Mapping):
        assert got.keys() == expected.keys(), where
        for key in expected:
            if key == "counts" and where.startswith("hessian_diagonal"):
                # many entries are 0 but for rounding, and 0 is an edge of the histogram
                assert sum(got[key]) == sum(expected[key]), where
            elif key not in (
                "seconds",
                "peak_memory",
                "residuals",
                "most_negative_residual",
                "nodes",
                "weights",
                "curve",
            ):
                compare(got[key], expected[key], f"{where}, {key}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        scale = max([abs(v) for v in expected if isinstance(v, float)], default=0.0)
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            if isinstance(b, list):
                compare(a, b, f"{where}[{i}]")
                continue
            assert a == pytest.approx(b, rel=1e-10, abs=1e-10 * scale), f"{where}[{i}]"
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-10, abs=1e-13), where
    else:
        assert got == expected, where
