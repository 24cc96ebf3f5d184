"""The largest eigenvalue in float64, independent of our code: SciPy's eigsh on plain double backward.

It costs more than all that is compared with it, so it is kept, under the hash of weights and images.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks.subject import LossFunction, Subject


def top_eigenvalue(subject: Subject, store: Path) -> float:
    """The largest algebraic eigenvalue of the Hessian of the mean loss.

    Its residual is at most 1e-4 of it, so its error, which is of the square's order, about 1e-8.
    """
    known = json.loads(store.read_text()) if store.is_file() else {}
    key = subject.digest()
    if key not in known:
        known[key] = {"top_eigenvalue": _compute(subject), "images": len(subject), "subject": subject.name}
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    return float(known[key]["top_eigenvalue"])


def _compute(subject: Subject) -> float:
    model, loss = subject.copy().cpu().double(), LossFunction(reduction="sum")
    parameters = list(model.parameters())
    sizes = [p.numel() for p in parameters]
    batches = [(x.cpu().double(), y.cpu()) for x, y in subject.batches(64)]

    def product(v: np.ndarray) -> np.ndarray:
        pieces = torch.split(torch.from_numpy(v.reshape(-1)), sizes)
        vectors = [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]
        total = torch.zeros(sum(sizes), dtype=torch.float64)
        for x, y in batches:
            slopes = torch.autograd.grad(loss(model(x), y) / len(subject), parameters, create_graph=True)
            total += torch.cat([h.reshape(-1) for h in torch.autograd.grad(slopes, parameters, vectors)])
        return total.numpy()

    size = sum(sizes)
    start = np.random.default_rng(0).normal(size=size)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    (value,) = eigsh(operator, k=1, which="LA", tol=1e-4, ncv=24, v0=start, return_eigenvectors=False)
    return float(value)
