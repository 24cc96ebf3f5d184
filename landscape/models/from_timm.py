"""`timm:NAME`: the networks of timm (PyTorch image models), with timm's own names.

Images are enlarged where timm says that a network takes one size or has a smallest one. `size=N` asks for another; a
network for one size is then built for that. Weights are random until a checkpoint is loaded; nothing is downloaded.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from landscape.errors import ModelError, near
from landscape.models.source import ModelSource, Request, call_builder, check_options

_WEIGHTS = ("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


def _build(
    package: ModuleType, request: Request, classes: int | None, channels: int | None, size: int | None
) -> nn.Module:
    settings = _settings(package, request.name)
    data = {"num_classes": classes, "in_chans": channels}
    check_options(f"timm:{request.name}", request.options, _WEIGHTS, data)
    options: dict[str, Any] = {key: known for key, known in data.items() if known is not None} | dict(request.options)
    if request.size is not None and settings is not None and settings.fixed_input_size:
        options.setdefault("img_size", request.size)
    return call_builder(f"timm:{request.name}", package.create_model, request.name, pretrained=False, **options)


def _side(package: ModuleType, request: Request, size: int) -> int:
    settings = _settings(package, request.name)
    if request.size is not None:
        return request.size
    own = request.options.get("img_size")
    if isinstance(own, int):
        return own
    if settings is None:
        return size
    if settings.fixed_input_size:
        return int(settings.input_size[-1])
    return max(size, int(settings.min_input_size[-1]) if settings.min_input_size else size)


def _settings(package: ModuleType, name: str) -> Any:
    if not package.is_model(name.partition(".")[0]):
        raise ModelError(f"timm has no network {name!r}.{near(name, package.list_models())}")
    # a tag after the dot names published weights; those that timm does not know of are no reason to build nothing
    try:
        return package.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ModelError(f"timm has no network {name!r} ({error}).") from error


SOURCE = ModelSource("timm", "timm", _build, _side)
