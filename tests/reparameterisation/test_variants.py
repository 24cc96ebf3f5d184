"""What comes of a rescaling: against the dense Hessian, and of a folding against torch's own.

With theta' = D theta of the same function the Hessian is D^-1 H D^-1: D is read off the tensors themselves.
"""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import Case, case
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import landscape
from landscape import Problem
from landscape.errors import ModelError
from landscape.problem.folding import find_folds, fold_in, folded_tensors, pairs_of
from landscape.reparameterisation.structure import find_structure, least_factor, rescaled
from landscape.reparameterisation.variants import Variant, folded_variant, largest_change, rescaled_variant, rounding

RELATIVE = (landscape.connectivity, landscape.connectivity_batch, landscape.fisher_rao)
OF_THE_FUNCTION = (landscape.margin, landscape.jacobian_norm)


def rescaled_case(kind: str) -> tuple[Case, Variant]:
    small = case("batch_norm")
    problem = small.problem()
    structure = find_structure(problem)
    factors = np.ones(len(structure.units))
    factors[structure.of_kind("rho" if kind == "rho" else "scale")[1::2]] = 5.0
    return small, rescaled_variant(problem, structure, factors)


@pytest.mark.parametrize("kind", ["rho", "scale"])
def test_the_hessian_is_that_of_rescaled_coordinates(kind: str) -> None:
    small, variant = rescaled_case(kind)
    before, after = (
        small.function,
        Case("twin", variant.problem.model, small.loss, small.inputs, small.targets).function,
    )
    d = (after.theta / before.theta).numpy()
    assert {round(float(x), 6) for x in d} <= {0.2, 1.0, 5.0}
    assert len({round(float(x), 6) for x in d}) == (3 if kind == "rho" else 2)
    one, two = oracles.hessian(before), oracles.hessian(after)
    np.testing.assert_allclose(two, one / np.outer(d, d), rtol=1e-9, atol=1e-12 * np.abs(two).max())
    assert abs(np.trace(two) / np.trace(one) - 1) > 0.05


@pytest.mark.parametrize("kind", ["rho", "scale"])
def test_measures_of_the_function_and_of_relative_changes_stay(kind: str) -> None:
    small, variant = rescaled_case(kind)
    for measure in (*RELATIVE, *OF_THE_FUNCTION):
        assert measure(variant.problem).value == pytest.approx(measure(small.problem()).value, rel=1e-10)


def test_a_folding_is_that_of_torch() -> None:
    small = case("batch_norm")
    problem = small.problem()
    folds = find_folds(problem)
    assert pairs_of(folds) == (("0", "1"), ("3", "4"))
    tensors = folded_tensors(problem.tensors, folds)
    model = small.model.eval()
    for conv, norm in ((0, 1), (3, 4)):
        fused = fuse_conv_bn_eval(model[conv], model[norm])
        torch.testing.assert_close(tensors[f"{conv}.weight"], fused.weight.detach(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(tensors[f"{conv}.bias"], fused.bias.detach(), rtol=1e-12, atol=1e-14)
    assert not any(name.startswith(("1.", "4.")) for name in tensors)


def test_a_folding_keeps_the_function_and_the_weights_share_of_connectivity() -> None:
    """w dl/dw of a convolution's weight is that of the folded one: w' = s w with s constant in w."""
    small = case("batch_norm")
    variant = folded_variant(small.problem(), find_folds(small.problem()))
    assert variant.change < 1e-12
    assert variant.problem.size == small.problem().size - 2 * 8 + 4  # gammas and betas go, one bias comes
    for measure in OF_THE_FUNCTION:
        assert measure(variant.problem).value == pytest.approx(measure(small.problem()).value, rel=1e-10)
    before, after = (landscape.connectivity(p) for p in (small.problem(), variant.problem))
    for role in ("conv.weight", "linear.weight", "linear.bias"):
        assert after.groups[role] == pytest.approx(before.groups[role], rel=1e-10)
    assert after.value != pytest.approx(before.value, rel=1e-3)


def test_nothing_given_is_changed() -> None:
    small = case("batch_norm")
    problem = small.problem()
    kept = {name: tensor.clone() for name, tensor in problem.tensors.items()}
    structure = find_structure(problem)
    given = problem.tensors
    rescaled(given, structure, np.full(len(structure.units), 3.0))
    folded_tensors(given, find_folds(problem))
    assert all(torch.equal(given[name], kept[name]) for name in kept)
    assert all(torch.equal(problem.tensors[name], kept[name]) for name in kept)


def test_factors_of_one_leave_every_bit() -> None:
    problem = case("batch_norm").problem()
    structure = find_structure(problem)
    same = rescaled(problem.tensors, structure, np.ones(len(structure.units)))
    assert all(torch.equal(same[name], tensor) for name, tensor in problem.tensors.items())


def test_the_smallest_factor_leaves_a_variance_of_zero() -> None:
    problem = case("batch_norm").problem()
    structure = find_structure(problem)
    least = least_factor(structure, problem.tensors)
    kinds = np.array([unit.kind == "scale" for unit in structure.units])
    assert (least[~kinds] == 0).all()
    tensors = rescaled(problem.tensors, structure, np.where(kinds, least, 1.0))
    assert float(tensors["1.running_var"].abs().max()) < 1e-12


def test_another_function_is_refused() -> None:
    problem = case("batch_norm").problem()
    structure = find_structure(problem)
    wrong = structure.entries[0]
    broken = type(structure)(structure.units, (wrong,), (), {})
    with pytest.raises(ModelError, match="another function"):
        rescaled_variant(problem, broken, np.full(len(structure.units), 2.0))


def test_the_largest_change_is_that_of_a_loop() -> None:
    small = case("linear_regression")
    other = nn.Linear(4, 2).double()
    twin = Problem(other, small.loss, (small.inputs, small.targets), batch_size=5)
    change, size = largest_change(small.problem(batch_size=7), twin)
    with torch.no_grad():
        a, b = small.model(small.inputs), other(small.inputs)
    assert change == pytest.approx(float((a - b).abs().max()), rel=1e-12)
    assert size == pytest.approx(float(a.abs().max()), rel=1e-12)
    assert rounding(torch.float64) == 2.0**-26


def test_only_a_layer_and_its_normalisation_can_be_folded() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    with pytest.raises(ModelError, match="no nowhere"):
        fold_in(model, [("0", "nowhere")])
    with pytest.raises(ModelError, match="cannot fold 2 into 0"):
        fold_in(model, [("0", "2")])
