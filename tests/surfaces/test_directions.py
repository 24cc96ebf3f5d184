"""Directions and planes against hand-written formulas, dense eigenvectors and numpy's SVD."""

import math

import numpy as np
import pytest
import torch
from cases import case
from oracles import hessian

from landscape.config.surface import SurfaceSettings, parse_directions, parse_ignored, parse_points, parse_range
from landscape.errors import OptionError
from landscape.surfaces.curves import bezier, train_control
from landscape.surfaces.eigen_directions import eigen_directions
from landscape.surfaces.plane import displacement, plane
from landscape.surfaces.random_directions import random_directions
from landscape.surfaces.trajectory import trajectory_plane

NET = "batch_norm"


def rows(tensor, how):
    """The units of a tensor, by loops."""
    if how == "filter" and tensor.ndim > 1:
        return [tensor[i].reshape(-1) for i in range(tensor.shape[0])]
    return [tensor.reshape(-1)]


@pytest.mark.parametrize("how", ["filter", "layer"])
def test_units_have_the_norms_of_the_weights_and_are_orthogonal(how):
    problem = case(NET).problem()
    theta = problem.parameters
    one, two = random_directions(theta, problem.infos, 2, normalize=how, ignore=())
    assert one.keys() == two.keys() == theta.keys()
    for name, w in theta.items():
        for a, b, c in zip(rows(one[name], how), rows(two[name], how), rows(w, how), strict=True):
            for d in (a, b):
                assert math.isclose(math.sqrt(sum(v * v for v in d.tolist())), float(c.norm()), rel_tol=1e-12)
            if len(a) > 1:
                assert abs(float(a @ b)) <= 1e-12 * float(c.norm()) ** 2
    whole = math.sqrt(sum(float((t**2).sum()) for t in theta.values()))
    made = plane(theta, [one, two], ["a", "b"])
    np.testing.assert_allclose(made.norms, [whole, whole], rtol=1e-12)
    assert abs(made.cosine) < 1e-12


def test_without_normalisation_directions_are_unit_vectors_at_a_right_angle():
    problem = case(NET).problem()
    one, two = (
        torch.cat([t.reshape(-1) for t in d.values()])
        for d in random_directions(problem.parameters, problem.infos, 2, normalize="none", ignore=())
    )
    assert math.isclose(float(one @ one), 1, rel_tol=1e-12)
    assert math.isclose(float(two @ two), 1, rel_tol=1e-12)
    assert abs(float(one @ two)) < 1e-14


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        ("bias,bn", {"0.weight", "3.weight", "7.weight"}),
        ("bn", {"0.weight", "3.weight", "3.bias", "7.weight", "7.bias"}),
        ("bias", {"0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias", "7.weight"}),
    ],
)
def test_what_is_ignored_does_not_move(ignore, left):
    problem = case(NET).problem()
    (d,) = random_directions(problem.parameters, problem.infos, 1, ignore=parse_ignored(ignore))
    assert set(d) == left


def test_draws_follow_the_seed_and_not_the_precision():
    problem = case(NET).problem()
    theta = problem.parameters
    (one,) = random_directions(theta, problem.infos, 1, seed=1)
    (again,) = random_directions(theta, problem.infos, 1, seed=1)
    (other,) = random_directions(theta, problem.infos, 1, seed=2)
    (single,) = random_directions({n: t.float() for n, t in theta.items()}, problem.infos, 1, seed=1)
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert not any(torch.equal(one[n], other[n]) for n in one)
    assert all(torch.allclose(one[n].float(), single[n], rtol=1e-5) for n in one)


def test_eigenvectors_are_those_of_the_dense_hessian():
    built = case("logistic_regression")
    values, vectors = np.linalg.eigh(hessian(built.function))
    found = eigen_directions(built.problem(), 2, rtol=1e-7)
    np.testing.assert_allclose(found.values, values[::-1][:2], rtol=1e-10)
    for k, vector in enumerate(found.vectors):
        flat = torch.cat([t.reshape(-1) for t in vector.values()]).numpy()
        assert math.isclose(float(flat @ flat), 1, rel_tol=1e-12)
        assert abs(float(flat @ vectors[:, -1 - k])) > 1 - 1e-9
        assert flat[np.abs(flat).argmax()] > 0
    assert found.converged


def test_the_plane_of_a_trajectory_is_that_of_the_svd():
    generator = np.random.default_rng(3)
    shapes = {"a": (3, 2), "b": (4,)}

    def named(flat):
        return {"a": torch.from_numpy(flat[:6].reshape(3, 2).copy()), "b": torch.from_numpy(flat[6:].copy())}

    origin = generator.normal(size=10)
    points = origin + generator.normal(size=(6, 10)) * np.linspace(3, 0.1, 10)
    found = trajectory_plane([named(p) for p in points], named(origin), list(shapes), 2)
    u, s, vt = np.linalg.svd(points - origin, full_matrices=False)
    directions = np.array([np.concatenate([d[n].reshape(-1).numpy() for n in shapes]) for d in found.directions])
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-13)
    for k in range(2):
        sign = math.copysign(1, float(directions[k] @ vt[k]))
        np.testing.assert_allclose(directions[k], sign * vt[k], atol=1e-9)
        np.testing.assert_allclose(found.path[:, k], sign * u[:, k] * s[k], atol=1e-9)
    np.testing.assert_allclose(found.explained, s[:2] ** 2 / (s**2).sum(), rtol=1e-10)
    off = points - origin - (u[:, :2] * s[:2]) @ vt[:2]
    np.testing.assert_allclose(found.off, np.linalg.norm(off, axis=1), atol=1e-9)
    assert (found.path[0] >= 0).all()
    with pytest.raises(OptionError, match="fewer than 2 dimensions"):
        trajectory_plane([named(origin + t * points[0]) for t in (0.5, 1.0)], named(origin), list(shapes), 2)


def test_a_displacement_is_the_distance_between_the_tensors():
    generator = torch.Generator().manual_seed(0)
    origin, one, two = (
        {"w": torch.randn(3, 2, generator=generator, dtype=torch.float64), "buffer": torch.ones(1)} for _ in range(3)
    )
    two["w"] = two["w"] + one["w"]  # not orthogonal
    made = plane(origin, [one, two], ["a", "b"], measured=["w"])
    moved = made.at(0.3, -1.2)
    assert math.isclose(displacement(made, 0.3, -1.2), float((moved["w"] - origin["w"]).norm()), rel_tol=1e-12)
    assert torch.equal(made.at(0.0, 0.0)["w"], origin["w"])


def test_a_bezier_curve_by_its_formula_and_its_ends():
    a, c, b = ({"w": torch.tensor([float(v)], dtype=torch.float64)} for v in (1, 5, 2))
    for t in (0.0, 0.25, 1.0):
        assert math.isclose(bezier(a, c, b, t)["w"].item(), (1 - t) ** 2 * 1 + 2 * t * (1 - t) * 5 + t * t * 2)


def test_training_a_curve_lowers_the_loss_between_two_networks():
    """Two networks that are permutations of each other: the same function, and a barrier on the straight line."""
    torch.manual_seed(0)
    inputs = torch.randn(64, 2, dtype=torch.float64)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    from landscape import Problem

    problem = Problem(model, torch.nn.CrossEntropyLoss(), (inputs, targets))
    start = {n: t.clone() for n, t in problem.parameters.items()}
    end = {n: t.flip(0) if n in ("0.weight", "0.bias") else t for n, t in start.items()}
    end["2.weight"] = start["2.weight"].flip(1)

    def mean(control):
        losses = []
        for t in np.linspace(0, 1, 9):
            theta = bezier(start, control, end, float(t))
            out = torch.tanh(inputs @ theta["0.weight"].T + theta["0.bias"]) @ theta["2.weight"].T + theta["2.bias"]
            losses.append(torch.nn.functional.cross_entropy(out, targets).item())
        return np.mean(losses), losses[0], losses[-1]

    straight = {n: 0.5 * (start[n] + end[n]) for n in start}
    before, first, last = mean(straight)
    assert math.isclose(first, last, rel_tol=1e-9)
    after, *_ = mean(train_control(problem, start, end, steps=150, rate=0.03))
    assert after < 0.6 * before
    assert all(torch.equal(t, start[n]) for n, t in problem.parameters.items())


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_directions, "randm", "Did you mean random"),
        (parse_directions, "line", "line:OTHER.pt"),
        (parse_directions, "eigen:3", "takes nothing after it"),
        (parse_ignored, "bais", "Did you mean bias"),
        (parse_points, "51x", "expected a count"),
        (parse_points, "1x5", "2 or more"),
        (parse_points, "99999x99999", "at most"),
        (lambda t: parse_range(t, "--x-range"), "1:-1", "LOW below HIGH"),
        (lambda t: parse_range(t, "--x-range"), "1:2:3", "LOW:HIGH"),
        (lambda t: parse_range(t, "--x-range"), "nan:1", "finite"),
    ],
)
def test_a_wrong_text_is_told(parse, text, words):
    with pytest.raises(OptionError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"directions": "line:b.pt"}, "one direction"),
        ({"points": "5", "y_range": "-1:1"}, "no direction"),
        ({"directions": "eigen", "normalize": "filter"}, "random directions"),
        ({"directions": "pca:run", "ignore": "bn"}, "random directions"),
    ],
)
def test_settings_that_exclude_each_other(settings, words):
    with pytest.raises(OptionError, match=words):
        SurfaceSettings(**settings).check()
