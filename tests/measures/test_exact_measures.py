"""The measures that are exact, against dense references on every problem of the table."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, N, case
from torch import nn

import landscape
from landscape.parameters import group_parameters

# error budget: sums of a few hundred float64 terms
CLOSE = {"rel": 1e-10, "abs": 1e-13}
BY = ["role", "layer", "tensor", "*weight,*bias"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("by", BY[:2])
def test_connectivity_is_the_mean_of_absolute_values_per_sample(name: str, by: str) -> None:
    small = case(name)
    f, theta = small.function, np.abs(small.function.theta.numpy())
    terms = np.abs(oracles.per_sample_gradients(f)) * theta
    weights = f.weights / f.weights.sum()
    record = landscape.connectivity(small.problem(), by=by)
    assert record.value == pytest.approx(weights @ terms.sum(1), **CLOSE)
    assert sum(record.groups.values()) == pytest.approx(record.value, rel=1e-13)
    for group, members in group_parameters(small.problem().infos, by).items():
        assert record.groups[group] == pytest.approx(weights @ terms[:, f.columns(members)].sum(1), **CLOSE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("m", [1, 8, 128])
def test_connectivity_of_batches_weights_the_ragged_group_by_its_labels(name: str, m: int) -> None:
    small = case(name)
    f, theta = small.function, np.abs(small.function.theta.numpy())
    gradients, total, weight = oracles.per_sample_gradients(f), 0.0, 0.0
    for low in range(0, N, m):
        w = f.weights[low : low + m]
        if w.sum() > 0:
            total += w.sum() * (np.abs(w @ gradients[low : low + m] / w.sum()) * theta).sum()
            weight += w.sum()
    record = landscape.connectivity_batch(small.problem(), connectivity_batch=m)
    assert record.value == pytest.approx(total / weight, **CLOSE)
    assert sum(record.groups.values()) == pytest.approx(record.value, rel=1e-13)
    assert record.details["m"] == min(m, N)
    per_sample = landscape.connectivity(small.problem()).value
    assert record.value <= per_sample * (1 + 1e-12)
    if m == 1:
        assert record.value == pytest.approx(per_sample, **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_fisher_rao_is_the_quadratic_form_of_the_fisher_matrix(name: str) -> None:
    small = case(name)
    assert small.fisher is not None
    f, theta = small.function, small.function.theta.numpy()
    F = oracles.label_fisher(f, small.fisher, small.label_weights)
    for by in BY if name == "frozen" else BY[:1]:
        record = landscape.fisher_rao(small.problem(), by=by)
        assert record.value == pytest.approx(theta @ F @ theta, **CLOSE)
        for group, members in group_parameters(small.problem().infos, by).items():
            columns = f.columns(members)
            part = theta[columns] @ F[np.ix_(columns, columns)] @ theta[columns]
            assert record.groups[group] == pytest.approx(part, **CLOSE), group
    empirical = f.weights @ (oracles.per_sample_gradients(f) @ theta) ** 2 / f.weights.sum()
    variants = record.details["variants"]
    assert variants["empirical_squared"] == pytest.approx(empirical, **CLOSE)
    assert variants["model_root"] ** 2 == pytest.approx(record.value, rel=1e-12)
    assert variants["empirical_root"] ** 2 == pytest.approx(empirical, **CLOSE)


@pytest.mark.parametrize("name", [n for n in CASES if "jacobian_norm" not in case(n).skipped])
def test_jacobian_norm_against_the_whole_jacobian(name: str) -> None:
    small = case(name)
    f = small.function
    J = oracles.input_jacobian(f)
    squared, weights = (J**2).sum((1, 2)), f.weights / f.weights.sum()
    record = landscape.jacobian_norm(small.problem())
    assert record.value == pytest.approx(weights @ squared, **CLOSE)
    assert record.details["exact"] is True
    assert record.stderr == 0
    spectral = weights @ np.linalg.norm(J, ord=2, axis=(1, 2))
    assert record.details["spectral_norm"] == pytest.approx(spectral, rel=1e-7)  # by the square of J
    counted = squared[f.weights > 0]
    expected = np.quantile(counted, [0.25, 0.5, 0.75])
    assert list(record.details["quantiles"].values()) == pytest.approx(list(expected), rel=1e-10)
    assert sum(record.details["histogram"]["counts"]) == len(counted)


@pytest.mark.parametrize("name", [n for n in CASES if "margin" not in case(n).skipped])
def test_margins_against_the_whole_jacobian(name: str) -> None:
    small = case(name)
    f = small.function
    J, outputs = oracles.input_jacobian(f), f.outputs(f.theta, f.inputs).detach().numpy()
    x = f.inputs.numpy().reshape(N, -1)
    spread = np.sqrt(x.var(0).sum())  # a standard deviation, not a variance
    distances, flat = [], 0
    for n in np.flatnonzero(f.weights):
        label = int(f.targets[n])
        other = max((k for k in range(outputs.shape[1]) if k != label), key=lambda k: outputs[n, k])
        slope = np.linalg.norm(J[n, label] - J[n, other])
        if slope == 0:  # every unit is dead: f is constant around x
            flat += 1
        else:
            distances.append((outputs[n, label] - outputs[n, other]) / slope / spread)
    d = np.array(distances)
    q1, median, q3 = np.percentile(d, [25, 50, 75])
    reach = 1.5 * (q3 - q1)
    record = landscape.margin(small.problem())
    expected = {
        "q1": q1,
        "median": median,
        "q3": q3,
        "lower_fence": min(v for v in d if v >= q1 - reach),
        "upper_fence": max(v for v in d if v <= q3 + reach),
        "middle_mean": np.mean([v for v in d if q1 <= v <= q3]),
        "misclassified": np.mean(d < 0),
        "total_variation": spread**2,
    }
    assert record.value == pytest.approx(median, **CLOSE)
    for key, value in expected.items():
        assert record.details[key] == pytest.approx(value, **CLOSE), key
    assert record.details["undefined"] == flat
    edges, counts = record.details["histogram"]["edges"], record.details["histogram"]["counts"]
    assert sum(counts) == len(d)
    if (d < 0).any() and (d > 0).any():
        zero = edges.index(0.0)  # the misclassified are a whole number of bars
        assert sum(counts[:zero]) == (d < 0).sum()


def test_sampling_errors_of_exact_measures_cover_draws_from_a_population() -> None:
    """120 draws of 60 of 400 samples without replacement: the error's size over the draws against what was claimed.

    Error budget: the mean of 120 squared errors over its expectation has a relative standard deviation of
    sqrt(2/120) = 0.13, the estimated variances of 60 heavy-tailed values some 0.3/sqrt(120): four of these make 0.53.
    """
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(400, 4)), rng.integers(0, 3, 400)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    whole = landscape.Problem(model, nn.CrossEntropyLoss(), (torch.from_numpy(x), torch.from_numpy(y)))
    measures = (landscape.connectivity, landscape.fisher_rao, landscape.jacobian_norm, landscape.margin)
    truth = {measure.__name__: measure(whole).value for measure in measures}
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in truth}
    for _ in range(120):
        part = whole.choose(torch.from_numpy(np.sort(rng.choice(400, 60, replace=False))))
        assert part.population == 400
        for measure in measures:
            record = measure(part)
            assert record.stderr == 0
            ratios[measure.__name__].append(((record.value - truth[measure.__name__]) ** 2, record.sampling_stderr**2))
    for name, pairs in ratios.items():
        errors, claims = np.array(pairs).T
        # the bootstrap of a median is known to be too wide by some 10 to 20% at this size
        low, high = (0.4, 1.4) if name == "margin" else (0.47, 1.53)
        assert low < errors.mean() / claims.mean() < high, name
