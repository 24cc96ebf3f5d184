"""The peers, each in the form that suits it best, behind functions of one shape.

PyHessian on up to 512 images (2,048 on a GPU) holds one graph of all of them and reuses it (`data=`), its fastest form;
beyond that it rebuilds the graph for each batch and product (`dataloader=`). curvlinops and hessian-eigenthings take
batches of 128, on a GPU of 2,000.
hessian-eigenthings averages its batches as if they were equal, so batches that are not equal are refused to it here.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from unittest import mock

import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from pyhessian import hessian as PyHessian
from torch import Tensor, nn

from benchmarks.subject import LossFunction, Subject

try:
    import hessian_eigenthings

    _MISSING: str | None = None
except ImportError as error:
    _MISSING = f"{error}; install it by make bench"

ONE_GRAPH = 512
ONE_GRAPH_ON_A_GPU = 2_048  # some 16 GB with the ResNet-20


def _named(label: str, package: str) -> str:
    try:
        return f"{label} {version(package)}"
    except PackageNotFoundError:
        return label


OURS = "landscape"
PYHESSIAN = _named("PyHessian", "pyhessian")
CURVLINOPS = _named("curvlinops", "curvlinops-for-pytorch")
EIGENTHINGS = _named("hessian-eigenthings", "hessian-eigenthings")
PYTORCH = _named("plain PyTorch", "torch").partition("+")[0]


def pyhessian(subject: Subject) -> PyHessian:
    """PyHessian on the subject, on a copy of the network: it keeps graphs in its parameters' `.grad`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the reference cycle that `release` breaks
        on_gpu = subject.device.type == "cuda"
        if len(subject) <= (ONE_GRAPH_ON_A_GPU if on_gpu else ONE_GRAPH):
            data = (subject.inputs, subject.targets)
            return PyHessian(subject.copy(), LossFunction(), data=data, cuda=on_gpu)
        return PyHessian(subject.copy(), LossFunction(), dataloader=subject.batches(), cuda=on_gpu)


def pyhessian_stops(sequences: Tensor, tolerance: float = 1e-3) -> Tensor:
    """After how many of its probes, a row each (d, k), PyHessian's `trace()` stops: (d,), k where it does not.

    Its rule: the running mean m_k moves by less than the tolerance, |m_k - m_{k-1}| / (m_{k-1} + 1e-6) < tolerance,
    from m_0 = 0 on; a mean that is negative stops it at once.
    """
    mean = sequences.cumsum(1) / torch.arange(1, sequences.shape[1] + 1)
    before = torch.nn.functional.pad(mean[:, :-1], (1, 0))
    met = (mean - before).abs() / (before + 1e-6) < tolerance
    return torch.where(met.any(1), met.long().argmax(1) + 1, sequences.shape[1])


def release(engine: PyHessian) -> None:
    """Break the cycle of parameters and gradients with graphs, which is never collected otherwise."""
    engine.model.zero_grad(set_to_none=True)
    engine.gradsH = None


@contextmanager
def counted_products() -> Iterator[Counter[str]]:
    """Count PyHessian's Hessian products made inside the block, under the key "products"."""
    module = sys.modules["pyhessian.hessian"]  # the name `pyhessian.hessian` itself means the class
    count: Counter[str] = Counter()
    whole, batched = module.hessian_vector_product, PyHessian.dataloader_hv_product

    def counting(product: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            count["products"] += 1
            return product(*args)

        return counted

    with (
        mock.patch.object(module, "hessian_vector_product", counting(whole)),
        mock.patch.object(PyHessian, "dataloader_hv_product", counting(batched)),
    ):
        yield count


def curvlinops_gauss_newton(subject: Subject) -> GGNLinearOperator:
    """curvlinops' generalised Gauss-Newton operator, exact in the loss."""
    return GGNLinearOperator(
        subject.model,
        nn.CrossEntropyLoss(),
        subject.parameters,
        subject.batches(),
        progressbar=False,
        check_deterministic=False,
        num_data=len(subject),
    )


def curvlinops_hessian(subject: Subject) -> HessianLinearOperator:
    """curvlinops' Hessian; the check that two sweeps agree is off, it would cost two more passes."""
    return HessianLinearOperator(
        subject.model,
        nn.CrossEntropyLoss(),
        subject.parameters,
        subject.batches(),
        progressbar=False,
        check_deterministic=False,
        num_data=len(subject),
    )


def eigenthings() -> Any:
    """The package hessian-eigenthings.

    Raises:
        ImportError: it is not installed.
    """
    if _MISSING is not None:
        raise ImportError(_MISSING)
    return hessian_eigenthings


def eigenthings_hessian(subject: Subject) -> Any:
    """hessian-eigenthings' Hessian.

    Raises:
        ImportError: it is not installed.
        ValueError: the batches are not equal.
    """
    package = eigenthings()
    _refuse_unequal(subject)
    return package.HessianOperator(subject.model, subject.batches(), package.supervised_loss(LossFunction()))


def eigenthings_gauss_newton(subject: Subject) -> Any:
    """hessian-eigenthings' generalised Gauss-Newton operator; raises as `eigenthings_hessian`."""
    package = eigenthings()
    _refuse_unequal(subject)
    forward, loss = package.supervised_forward, package.supervised_loss_of_output(LossFunction())
    return package.GGNOperator(subject.model, subject.batches(), forward, loss)


def _refuse_unequal(subject: Subject) -> None:
    if len(subject) > subject.batch and len(subject) % subject.batch:
        raise ValueError(
            f"{len(subject)} images make unequal batches of {subject.batch}, which it averages as if equal"
        )


def random_block(size: int, k: int, seed: int, device: torch.device | None = None) -> Tensor:
    """k Gaussian vectors as columns (P, k)."""
    return torch.randn(size, k, generator=torch.Generator().manual_seed(seed)).to(device)
