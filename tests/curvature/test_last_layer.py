"""The last layer's eigenvalue against the dense Hessian by autograd."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.curvature.last_layer import LastLayer, product, top_eigenvalue
from landscape.errors import OptionError
from landscape.training.samples import Split
from landscape.workflows.sharpness_callback import last_layer_eigenvalue


def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 4)
        ).double()


def data(samples=30):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(samples, 2, 4, generator=generator, dtype=torch.float64)


def dense(model, x):
    """The Hessian in the last weight, (24, 24), with labels drawn: it does not depend on them."""
    model.eval()
    labels = torch.randint(4, (len(x),), generator=torch.Generator().manual_seed(3))
    features = model[:-1](x).detach()

    def loss(flat):
        return cross_entropy(features @ flat.view(4, 6).T + model[-1].bias.detach(), labels)

    return torch.autograd.functional.hessian(loss, model[-1].weight.detach().flatten())


def test_products_are_those_of_the_dense_hessian():
    model, x = network(), data()
    H = dense(model, x)
    features, logits = LastLayer(model, x[:2]).features_and_logits(model, x)
    V = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = (H @ V.flatten()).view(4, 6)
    torch.testing.assert_close(product(features, torch.softmax(logits, 1), V), expected, rtol=1e-10, atol=1e-14)


def test_the_eigenvalue_is_the_largest_of_the_dense_hessian():
    model, x = network(), data()
    largest = float(torch.linalg.eigvalsh(dense(model, x))[-1])
    features, logits = LastLayer(model, x[:2]).features_and_logits(model, x)
    assert top_eigenvalue(features, logits, iterations=200) == pytest.approx(largest, rel=1e-9)
    ten = top_eigenvalue(features, logits)
    assert 0.9 * largest < ten <= largest * (1 + 1e-12)


def test_a_callback_depends_on_neither_the_rows_of_a_pass_nor_on_the_mode_of_the_network():
    model, x = network(), data()
    samples = Split(x, torch.zeros(len(x), dtype=torch.int64))
    values = []
    for rows in (30, 7):
        model.train()
        before = {name: t.clone() for name, t in model.state_dict().items()}
        values.append(last_layer_eigenvalue(model, samples, batch=20, seed=5, rows=rows)(model))
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert values[0] != last_layer_eigenvalue(model, samples, batch=20, seed=6, rows=30)(model)


def test_a_flat_loss_has_eigenvalue_zero():
    assert top_eigenvalue(torch.zeros(5, 3), torch.zeros(5, 2)) == 0


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.Softmax(1)),
        nn.Sequential(nn.Flatten()),
        nn.Sequential(nn.Conv1d(2, 3, 1), nn.Flatten()),
    ],
)
def test_a_network_that_ends_otherwise_is_refused(model):
    with pytest.raises(OptionError, match="does not end in a linear layer"):
        LastLayer(model.double(), data(2))
