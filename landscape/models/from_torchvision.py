"""`torchvision:NAME`: the classification networks of torchvision, with torchvision's own names.

Images are enlarged to the smallest that torchvision says a network takes (`min_size` of its published weights, of which
nothing else is used and nothing downloaded). A vision transformer is for one size: by default that of its weights.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from torch import nn

from landscape.errors import ModelError, near
from landscape.models.source import ModelSource, Request, call_builder, check_options

HEADS = ("googlenet", "inception_v3")  # with auxiliary outputs; they ask loudly how their weights are to be drawn


def _build(
    package: ModuleType, request: Request, classes: int | None, channels: int | None, size: int | None
) -> nn.Module:
    models, name = _models(package), request.name
    _check(models, name)
    if channels not in (None, 3):
        raise ModelError(
            f"torchvision:{name} takes images of 3 channels, the data has {channels}; timm's networks take any."
        )
    check_options(f"torchvision:{name}", request.options, ("name", "weights"), {"num_classes": classes})
    options: dict[str, Any] = {**({"num_classes": classes} if classes else {}), **request.options}
    if name in HEADS:
        options.setdefault("init_weights", True)
    if request.size is not None and name.startswith("vit_"):
        options.setdefault("image_size", request.size)
    return call_builder(f"torchvision:{name}", models.get_model, name, weights=None, **options)


def _side(package: ModuleType, request: Request, size: int) -> int:
    models = _models(package)
    _check(models, request.name)
    if request.size is not None:
        return request.size
    own = request.options.get("image_size")
    if isinstance(own, int):
        return own
    smallest = [max(weights.meta["min_size"]) for weights in models.get_model_weights(request.name)]
    return max(size, min(smallest, default=size))


def _models(package: ModuleType) -> Any:
    return importlib.import_module(f"{package.__name__}.models")


def _check(models: Any, name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(f"torchvision has no classification network {name!r}.{near(name, known)}")


SOURCE = ModelSource("torchvision", "torchvision", _build, _side)
