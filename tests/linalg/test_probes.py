"""Probes: the same for a key for ever, independent between keys, with the moments that unbiasedness needs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from landscape.linalg.probes import gaussian, rademacher, uniform


@pytest.mark.parametrize("probe", [rademacher, gaussian, uniform])
def test_a_probe_depends_on_seed_and_keys_alone(probe) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = probe(101, 3, 4, 5, dtype=torch.float64)
    assert torch.equal(before, torch.get_rng_state())
    np.random.seed(7)
    assert torch.equal(first, probe(101, 3, 4, 5, dtype=torch.float64))
    assert torch.equal(first.float(), probe(101, 3, 4, 5, dtype=torch.float32))
    for other in ((3, 5, 4), (4, 4, 5), (3, 4, 6)):
        assert not torch.equal(first, probe(101, *other, dtype=torch.float64)), other


@pytest.mark.parametrize("probe", [rademacher, gaussian])
def test_probes_of_different_keys_are_uncorrelated(probe) -> None:  # type: ignore[no-untyped-def]
    """The trap: directions that are nearly parallel. Error budget: each product has sd 1/sqrt(P); 5 of them."""
    size = 2000
    V = np.stack([probe(size, 0, k, b, dtype=torch.float64).numpy() for k in range(10) for b in range(4)])
    gram = V @ V.T / size
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 5 / np.sqrt(size)
    assert abs(V.mean()) < 4 / np.sqrt(V.size)


def test_signs_are_signs_whatever_the_length() -> None:
    for size in (1, 7, 8, 9, 1000):
        v = rademacher(size, 0, 1, dtype=torch.float64)
        assert v.shape == (size,)
        assert set(v.tolist()) <= {-1.0, 1.0}


def test_gaussian_values_are_gaussian() -> None:
    v = gaussian(20_000, 0, 1, dtype=torch.float64).numpy()
    assert np.isfinite(v).all()
    assert scipy.stats.kstest(v, "norm").pvalue > 1e-3


def test_uniform_values_fill_the_interval_evenly() -> None:
    """Error budget: a Kolmogorov-Smirnov test of 20,000 values of one seed."""
    values = uniform(20_000, 0, 1, dtype=torch.float64).numpy()
    assert np.abs(values).max() < 1
    assert scipy.stats.kstest(values, scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01
