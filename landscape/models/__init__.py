"""Networks by name: `MODELS`, the text form of a choice, and building it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from landscape.errors import ModelError, OptionError, near
from landscape.models import (
    alexnet,
    from_timm,
    from_torchvision,
    from_transformers,
    mlp,
    resnet_cifar,
    resnet_d,
    resnet_imagenet_form,
    vgg,
    wide_resnet,
)
from landscape.models.from_transformers import own_configuration
from landscape.models.source import ModelSource, Request
from landscape.models.spec import ModelFamily, ModelSpec, Option, OptionValue, parse_spec
from landscape.models.user import build_from_factory

__all__ = [
    "MODELS",
    "SOURCES",
    "ModelFamily",
    "ModelSource",
    "ModelSpec",
    "Option",
    "OptionValue",
    "build_model",
    "check_trainable",
    "image_side",
    "image_statistics",
    "own_configuration",
    "parse_model",
    "renamed",
]

MODELS: Mapping[str, ModelFamily] = MappingProxyType(
    {
        family.name: family
        for families in (
            mlp.FAMILIES,
            alexnet.FAMILIES,
            vgg.FAMILIES,
            resnet_cifar.FAMILIES,
            resnet_imagenet_form.FAMILIES,
            resnet_d.FAMILIES,
            wide_resnet.FAMILIES,
        )
        for family in families
    }
)


SOURCES: Mapping[str, ModelSource] = MappingProxyType(
    {source.name: source for source in (from_torchvision.SOURCE, from_timm.SOURCE, from_transformers.SOURCE)}
)


def parse_model(text: str) -> ModelSpec:
    """Parse `NAME`, `NAME:key=value,...`, `SOURCE:NAME`, or `module:factory`; see `parse_spec`.

    Raises:
        OptionError: the name, an option or a value is unknown; near names are offered.
    """
    return parse_spec(text, MODELS, SOURCES)


def image_side(spec: ModelSpec, size: int) -> int:
    """The side, in pixels, of the images that the network of `spec` is to get, given images of `size`.

    One of ours gets them enlarged to the smallest that it takes, one of another package as that says, a user's own as
    they are.

    Raises:
        ModelError: the package is not there, or has no such network.
        OptionError: the network takes no images.
    """
    if spec.source:
        source = SOURCES[spec.source]
        return source.side(source.load(), _request(spec), size)
    return size if spec.is_factory else max(size, _family(spec.name).minimum_size)


def check_trainable(spec: ModelSpec) -> None:
    """Refuse the networks of packages whose outputs are not one row of logits while they train.

    Raises:
        OptionError: it is one of these.
    """
    if spec.source and not SOURCES[spec.source].trains:
        raise OptionError(f"{spec} can be measured, not trained here: its outputs are no logits alone.")
    has_heads = spec.source == "torchvision" and spec.name in from_torchvision.HEADS
    if has_heads and spec.options.get("aux_logits") is not False:
        raise OptionError(f"{spec} has auxiliary outputs while it trains; add aux_logits=false.")


def renamed(spec: ModelSpec, model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint under the names of `model`, where the package of `spec` has other names for files.

    Raises:
        ModelError: the package refuses them.
    """
    if spec.source == from_transformers.SOURCE.name:
        return from_transformers.renamed(spec.name, model, tensors)
    return tensors


def image_statistics(spec: ModelSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The means and deviations that a network's own folder says its images are normalised by, where it says so."""
    return from_transformers.image_statistics(spec.name) if spec.source == from_transformers.SOURCE.name else None


def build_model(
    spec: ModelSpec,
    *,
    classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build the network of `spec` on the CPU with weights drawn from `seed`; the global RNG stays as it was.

    `classes`, `channels` and `size` (the side of the images as they will be fed, in pixels) are the data's: they
    fill the options that the spec leaves open. A `module:factory` is called with none of them.

    Raises:
        ModelError: the spec and the data disagree, an option stays open, the images are too small, a package is not
            there or has no such network, or a user's factory fails.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if spec.is_factory:
            return build_from_factory(spec.name)
        if spec.source:
            source = SOURCES[spec.source]
            return source.build(source.load(), _request(spec), classes, channels, size)
        family = _family(spec.name)
        if size is not None and size < family.minimum_size:
            raise ModelError(
                f"{spec} takes images of {family.minimum_size}x{family.minimum_size} pixels or more, "
                f"got {size}x{size}; upsample them or choose another network."
            )
        return family.build(**_resolve(spec, family, {"classes": classes, "channels": channels, "size": size}))


def _request(spec: ModelSpec) -> Request:
    size = spec.options.get("size")
    options = {key: value for key, value in spec.options.items() if key != "size"}
    return Request(spec.name, options, int(size) if size is not None else None)


def _family(name: str) -> ModelFamily:
    if name not in MODELS:
        raise OptionError(f"unknown model {name!r}.{near(name, MODELS)}")
    return MODELS[name]


def _resolve(spec: ModelSpec, family: ModelFamily, data: Mapping[str, int | None]) -> dict[str, OptionValue]:
    values: dict[str, OptionValue] = {}
    for key, option in family.options.items():
        given, known = spec.options.get(key), data.get(key)
        if given is not None and known is not None and given != known:
            raise ModelError(
                f"{spec} has {key}={given}, but the data has {known}; leave {key} out of the model, "
                "or name the data that it is for."
            )
        value = next((v for v in (given, known, option.default) if v is not None), None)
        if value is None:
            raise ModelError(f"{spec}: {key} is open; name the data, or give it as {spec.name}:{key}=NUMBER.")
        values[key] = value
    return values
