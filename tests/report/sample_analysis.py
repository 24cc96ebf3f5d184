"""A synthetic analysis: the keys and the shapes of a real one, numbers made up. Nothing measured is in it.

Eight measures have numbers of their own kind; any other, of the catalog or not, is a record with all that one may hold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.records import Analysis, Record


def resnet_tensors(blocks: int = 3) -> list[dict[str, Any]]:
    tensors = []

    def add(layer: str, kind: str, role: str, size: int) -> None:
        name = f"{layer}.{kind}"
        tensors.append({"name": name, "role": role, "layer": layer, "size": size, "norm": math.sqrt(size) / 10})

    def norm(layer: str, channels: int) -> None:
        add(layer, "weight", "norm.gamma", channels)
        add(layer, "bias", "norm.beta", channels)

    add("conv1", "weight", "conv.weight", 432)
    norm("bn1", 16)
    for stage, channels in enumerate((16, 32, 64), 1):
        for block in range(blocks):
            for half in (1, 2):
                add(f"layer{stage}.{block}.conv{half}", "weight", "conv.weight", 9 * channels * channels)
                norm(f"layer{stage}.{block}.bn{half}", channels)
    add("linear", "weight", "linear.weight", 640)
    add("linear", "bias", "linear.bias", 10)
    return tensors


def split_over(tensors: list[dict[str, Any]], total: float, seed: int) -> dict[str, float]:
    shares = np.random.default_rng(seed).dirichlet([0.3] * len(tensors))
    return {t["name"]: float(total * s) for t, s in zip(tensors, shares, strict=True)}


def grouped(tensors: list[dict[str, Any]], values: dict[str, float], key: str = "role") -> dict[str, float]:
    sums: dict[str, float] = {}
    for t in tensors:
        sums[t[key]] = sums.get(t[key], 0.0) + values[t["name"]]
    return sums


def histogram(values: np.ndarray, edges: np.ndarray) -> dict[str, list[float]]:
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def quartiles(values: np.ndarray) -> dict[str, float]:
    return dict(zip(("q1", "median", "q3"), (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))), strict=True))


def synthetic_analysis(
    *,
    path: str = "../shared/checkpoints/resnet20-cifar10.th",
    tensors: list[dict[str, Any]] | None = None,
    scale: float = 1.0,
    replace: dict[str, Record] | None = None,
    only: tuple[str, ...] | None = None,
) -> Analysis:
    rng = np.random.default_rng(0)
    tensors = resnet_tensors() if tensors is None else tensors
    size = sum(t["size"] for t in tensors)
    samples = 512

    trace = split_over(tensors, 2431.3 * scale, 1)
    trace[tensors[-1]["name"]] = -3.1 * scale
    trace_groups = grouped(tensors, trace)
    sharp = split_over(tensors, 95.854 * scale, 2)
    c_values = split_over(tensors, 0.33421 * scale, 3)
    cm_values = split_over(tensors, 0.08421 * scale, 3)

    x = np.linspace(-9.0, 104.0, 1200) * scale
    sigma = 1.13 * scale
    nodes = np.concatenate([rng.normal(0, 0.6, 60), -rng.exponential(2.5, 8), rng.exponential(14.0, 12)]) * scale
    nodes = np.sort(np.concatenate([nodes.clip(-8 * scale, 60 * scale), np.array([95.854, 84.702, 64.943]) * scale]))
    weights = np.where(np.abs(nodes) < 2 * scale, 1.0, 2e-4)
    weights[-3:] = len(nodes) / size
    weights /= weights.sum()
    bells = np.exp(-(((x[:, None] - nodes) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    density = bells @ weights

    per_sample = rng.lognormal(-2.0, 1.3, samples) * scale
    margins = rng.normal(0.021, 0.014, samples)
    q = quartiles(margins)
    reach = 1.5 * (q["q3"] - q["q1"])
    inside = margins[(margins >= q["q1"] - reach) & (margins <= q["q3"] + reach)]
    middle = margins[(margins >= q["q1"]) & (margins <= q["q3"])]
    step = 0.003
    margin_edges = np.arange(math.floor(margins.min() / step), math.ceil(margins.max() / step) + 1) * step
    jacobians = rng.lognormal(5.0, 0.8, samples) * scale

    measures = {
        "hessian_trace": Record(
            2431.3 * scale, 31.6 * scale, 122.0 * scale, True, 43.2, 12.8, trace_groups,
            {
                "groups_stderr": {g: 0.04 * abs(v) + 0.2 * scale for g, v in trace_groups.items()},
                "tensors": trace, "probes": 18, "blocks": 16, "estimator": "gauss-newton",
                "parts": {
                    "gauss_newton": {"value": 2402.1 * scale, "stderr": 18.0 * scale},
                    "residual": {"value": 29.2 * scale, "stderr": 26.0 * scale},
                },
            },
        ),
        "top_eigenvalues": Record(
            95.8541 * scale, 0.00031 * scale, 6.7 * scale, True, 86.4, 20.1, grouped(tensors, sharp),
            {
                "eigenvalues": [95.8541 * scale, 84.7022 * scale, 64.9431 * scale],
                "residuals": [0.0562 * scale, 0.31 * scale, 1.9 * scale],
                "most_negative": -8.31 * scale, "most_negative_residual": 0.47 * scale, "products": 36,
            },
        ),
        "spectral_density": Record(
            2431.3 / size * scale, 90.0 / size * scale, 160.0 / size * scale, False, 201.0, 46.0, {},
            {
                "nodes": nodes.tolist(), "weights": weights.tolist(),
                "curve": {"x": x.tolist(), "density": density.tolist()}, "sigma": sigma,
                "deflated": 9, "runs": 1, "steps": 8, "probes": 4,
            },
        ),
        "fisher_rao": Record(
            1.8361 * scale, 0.0, 0.12 * scale, True, 5.33, 1.4, split_over_roles(tensors, 1.4 * scale),
            {"variants": {
                "model_squared": 1.8361 * scale, "model_root": 0.613 * scale,
                "empirical_squared": 2.402 * scale, "empirical_root": 0.655 * scale,
            }},
        ),
        "connectivity": Record(
            0.33421 * scale, 0.0, 0.0122 * scale, True, 1.0, 2.3, grouped(tensors, c_values),
            {
                "tensors": c_values, "quantiles": quartiles(per_sample),
                "histogram": histogram(per_sample, np.geomspace(per_sample.min(), per_sample.max(), 41)),
            },
        ),
        "connectivity_batch": Record(
            0.08421 * scale, 0.0, 0.0101 * scale, True, 1.0, 0.7, grouped(tensors, cm_values),
            {"m": 128, "tensors": cm_values},
        ),
        "margin": Record(
            q["median"], 0.0, 0.00081, True, 1.0, 0.9, {},
            {
                **q, "lower_fence": float(inside.min()), "upper_fence": float(inside.max()),
                "middle_mean": float(middle.mean()), "misclassified": float((margins < 0).mean()),
                "total_variation": 3712.4, "undefined": 0, "histogram": histogram(margins, margin_edges),
            },
        ),
        "jacobian_norm": Record(
            float(jacobians.mean()), 0.0, float(jacobians.std() / math.sqrt(samples)), True, 7.0, 5.9, {},
            {
                "spectral_norm": 9.13, "histogram": histogram(jacobians, np.linspace(0, jacobians.max(), 51)),
                "quantiles": quartiles(jacobians), "exact": True, "classes": 10,
            },
        ),
    }  # fmt: skip
    measures |= replace or {}
    if only is not None:
        any_record = Record(
            12.34 * scale, 0.56 * scale, 1.2 * scale, True, 3.0, 0.5, grouped(tensors, c_values),
            {
                "groups_stderr": {t["role"]: 0.01 * scale for t in tensors}, "quantiles": quartiles(per_sample),
                "histogram": histogram(per_sample, np.linspace(0, per_sample.max(), 31)), "radius": 0.05,
                "steps": 17, "exact": False, "kind": "worst case", "signs": [0.5, -0.25],
                "parts": {"first": {"value": 1.5, "stderr": 0.25}, "second": 2.5}, "curve": {"x": [0.0, 1.0]},
            },
        )  # fmt: skip
        measures = {name: measures.get(name, any_record) for name in only}
    return Analysis(
        measures=measures,
        checkpoint={
            "path": path,
            "sha256": "3c1d09b6" * 8,
            "format": "foreign",
            "config": {},
            "metrics": {
                "epoch": 30, "train_loss": 0.0123, "train_accuracy": 0.9971, "test_loss": 0.2917,
                "test_accuracy": 0.9173,
            },
        },
        problem={
            "data": "cifar10:/data/cifar10", "split": "test", "samples": samples, "available": 10000,
            "parameters": size,
            "loss": 0.28741, "accuracy": 0.9173, "bn_mode": "eval", "dtype": "float32", "device": "cpu",
            "model": "resnet20:shortcut=pad", "classes": 10, "block": 32, "tensors": tensors,
        },
        settings={
            "measures": list(measures), "rtol": 0.05, "budget": 200.0, "top": 3, "connectivity_batch": 128,
            "bn": "eval", "dtype": "float32", "seed": 0, "by": "role", "samples": "first:512", "split": "test",
            "engine": "landscape",
        },
        total={"cost": 345.9, "seconds": 90.1},
        provenance={
            "landscape": "0.1.0", "torch": "2.13.0", "python": "3.11.9", "created": "2025-01-02T03:04:05+00:00",
            "command": f"landscape analyze {path} --model resnet20 --data cifar10:/data/cifar10 --split test",
        },
    )  # fmt: skip


def split_over_roles(tensors: list[dict[str, Any]], total: float) -> dict[str, float]:
    return grouped(tensors, split_over(tensors, total, 4))
