"""Label smoothing against its formula in NumPy: in one pass, in parts, with samples left out, and not in evaluation."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.training.batches import Batching, passes_of
from landscape.training.loop import evaluate
from landscape.training.optimizers.cotangents import Noise, cotangents
from landscape.training.samples import Split

N, K = 10, 4


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, K)).double()


def data():
    generator = torch.Generator().manual_seed(1)
    return Split(
        torch.randn(N, 5, generator=generator, dtype=torch.float64), torch.randint(K, (N,), generator=generator)
    )


def passes(model, **how):
    return passes_of(model, data().inputs, data().labels, Batching(**how), 1)


def log_p(logits):
    logits = logits.detach().numpy()
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def smoothed(logits, share):
    """Each sample's cross-entropy with targets 1 - P + P/K for the label and P/K for the others."""
    targets = np.full((N, K), share / K)
    targets[np.arange(N), data().labels.numpy()] += 1 - share
    return -(targets * log_p(logits)).sum(1)


@pytest.mark.parametrize("micro", [None, 3])
@pytest.mark.parametrize("discard", [0.0, 0.4])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_the_training_loss_is_the_formula(micro, discard, share):
    model = network()
    losses = np.sort(smoothed(model(data().inputs), share))
    expected = losses[int(discard * N) :].mean()
    got = passes(model, micro=micro, discard=discard, smoothing=share).gradient()
    assert math.isclose(float(got), expected, rel_tol=1e-12)


def test_gradient_and_hessian_products_are_of_the_smoothed_loss():
    model, share = network(), 0.3
    logits = model(data().inputs)
    log = torch.log_softmax(logits, 1)
    right = log[torch.arange(N), data().labels]
    loss = -((1 - share) * right + share / K * log.sum(1)).mean()
    parameters = list(model.parameters())
    expected = torch.autograd.grad(loss, parameters, create_graph=True)
    batch = passes(model, smoothing=share)
    batch.gradient()
    torch.testing.assert_close([p.grad for p in parameters], [g.detach() for g in expected])
    batch.gradient_again()
    torch.testing.assert_close([p.grad for p in parameters], [g.detach() for g in expected])
    vectors = [torch.ones_like(p) for p in parameters]
    inner = sum((g * v).sum() for g, v in zip(expected, vectors, strict=True))
    torch.testing.assert_close(
        batch.hessian_products(parameters, [vectors])[0], list(torch.autograd.grad(inner, parameters))
    )


def test_evaluation_and_the_models_own_labels_know_nothing_of_it():
    model = network().eval()
    metrics = evaluate(model, data(), 4)
    assert math.isclose(metrics.loss, smoothed(model(data().inputs), 0.0).mean(), rel_tol=1e-12)
    # K-FAC-F draws its labels from the model: p minus one of the K corners, whatever the training loss.
    (part,) = passes(model, smoothing=0.5).logits()
    logits = part.values.detach()
    drawn = torch.softmax(logits, 1) - cotangents(logits, "fisher", Noise("fisher", 0, N).rows(0, logits))
    assert torch.equal(
        drawn.sort(1).values.round(), torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(N, K)
    )
