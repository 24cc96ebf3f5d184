"""`hf:FOLDER` and `hf:NAME`: the networks of transformers, from a configuration that `save_pretrained` wrote.

The configuration (`config.json`) names the class, which must be one of transformers' own: no code in a folder or on a
hub is run (`trust_remote_code` stays False). The weights are those of the checkpoint that is measured, read by our own
safe reader; a checkpoint is not looked for on a hub. Names in a file are often those of older versions: transformers
translates them to the network's (`renamed`).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import ModelError, OptionError, near
from landscape.models.source import ModelSource, Request, call_builder, first_line

CONFIG = "config.json"
_PREPROCESSOR = "preprocessor_config.json"
_IMAGES = "pixel_values"


def _build(
    package: ModuleType, request: Request, classes: int | None, channels: int | None, size: int | None
) -> nn.Module:
    config = _config(package, request.name)
    kind = _class(package, request.name, config)
    own = getattr(config, "num_channels", None)
    if channels is not None and own not in (None, channels):
        raise ModelError(f"hf:{request.name} takes images of {own} channels, the data has {channels}.")
    with _quiet(package):
        return call_builder(f"hf:{request.name}", kind, config=config)


def _side(package: ModuleType, request: Request, size: int) -> int:
    config = _config(package, request.name)
    kind = _class(package, request.name, config)
    if kind.main_input_name != _IMAGES:
        raise OptionError(
            f"hf:{request.name} is a {kind.__name__}, which takes no images; give its data and loss by --problem FILE."
        )
    side = getattr(config, "image_size", None)
    if isinstance(side, (list, tuple)) and len(set(side)) == 1:
        side = side[0]
    return side if isinstance(side, int) else size


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors under the names of `model`, the network of the configuration `name`; what it lacks stays as it is.

    Raises:
        ModelError: transformers refuses them.
    """
    own = model.state_dict()
    if own.keys() == tensors.keys():
        return tensors
    package = SOURCE.load()
    try:
        with _quiet(package):
            made, found = type(model).from_pretrained(  # type: ignore[attr-defined]
                None,
                config=_config(package, name),
                state_dict=dict(tensors),
                dtype=torch.get_default_dtype(),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise ModelError(f"hf:{name}: transformers does not take the weights ({first_line(error)}).") from error
    wrong = {key[0] if isinstance(key, tuple) else key for key in found["mismatched_keys"]}
    lacking = set(found["missing_keys"]) | wrong
    fitting = {key: tensor for key, tensor in made.state_dict().items() if key not in lacking}
    return fitting | {key: tensors[key] for key in (*found["unexpected_keys"], *wrong) if key in tensors}


@contextmanager
def _quiet(package: ModuleType) -> Iterator[None]:
    """Keep transformers and its hub's client from telling what they do."""
    ours, hubs = package.utils.logging, _hub_logging()
    levels, bar = (ours.get_verbosity(), hubs.get_verbosity()), ours.is_progress_bar_enabled()
    ours.set_verbosity_error()
    hubs.set_verbosity_error()
    ours.disable_progress_bar()
    try:
        yield
    finally:
        ours.set_verbosity(levels[0])
        hubs.set_verbosity(levels[1])
        if bar:
            ours.enable_progress_bar()


def _hub_logging() -> Any:
    return importlib.import_module("huggingface_hub.utils.logging")


def own_configuration(path: Path) -> str | None:
    """The network that a folder describes beside its weights, `hf:FOLDER` or timm's, as a spec; None without one."""
    try:
        known = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError:
        known = {}
    if isinstance(known, dict) and "model_type" not in known and isinstance(known.get("architecture"), str):
        return f"timm:{known['architecture']}"
    return f"hf:{path}"


def image_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The means and deviations that a folder says its images are normalised by; None where it says nothing."""
    path = Path(name) / _PREPROCESSOR
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (tuple(float(v) for v in known[key]) for key in ("image_mean", "image_std"))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return (mean, std) if known.get("do_normalize", True) else None


def _config(package: ModuleType, name: str) -> Any:
    folder = Path(name)
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            raise ModelError(f"hf:{name}: there is no {CONFIG} in that folder; expected what save_pretrained writes.")
    elif folder.is_absolute() or name.startswith(".") or name.count("/") > 1 or folder.exists():
        raise ModelError(f"hf:{name}: there is no such folder{_near_folder(folder) or '.'}")
    try:
        with _quiet(package):
            return package.AutoConfig.from_pretrained(name, trust_remote_code=False, local_files_only=folder.is_dir())
    except Exception as error:  # of reading, of the network, of a configuration that asks for code
        if folder.is_dir():
            raise ModelError(f"hf:{name}: transformers does not read its {CONFIG} ({first_line(error)}).") from error
        raise ModelError(
            f"hf:{name}: there is no such folder{_near_folder(folder)}, and no configuration of that name was had from "
            f"the hub ({first_line(error)})."
        ) from error


def _near_folder(folder: Path) -> str:
    """The folders beside it that hold a configuration, as the end of a sentence."""
    beside = [p.name for p in folder.parent.glob("*") if (p / CONFIG).is_file()] if folder.parent.is_dir() else []
    return f" ({near(folder.name, beside).strip()})" if beside else ""


def _class(package: ModuleType, name: str, config: Any) -> Any:
    architectures = getattr(config, "architectures", None)
    if not architectures:
        raise ModelError(
            f"hf:{name}: its {CONFIG} names no architecture; save the network with save_pretrained, or build it in a "
            "factory of yours."
        )
    try:
        kind, networks = getattr(package, architectures[0], None), package.PreTrainedModel
    except Exception as error:  # transformers loads a class when it is asked for
        raise ModelError(SOURCE.broken(error)) from error
    if not (isinstance(kind, type) and issubclass(kind, networks)):
        raise ModelError(
            f"hf:{name}: transformers has no network {architectures[0]!r}; code that comes with a network is not run: "
            "build it in a factory of yours."
        )
    return kind


SOURCE = ModelSource("hf", "transformers", _build, _side, has_options=False, trains=False)
