"""Networks by name: `MODELS`, the text form of a choice, and building it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from landscape.errors import ModelError, OptionError, near
from landscape.models import alexnet, mlp, resnet_cifar, resnet_d, resnet_imagenet_form, vgg, wide_resnet
from landscape.models.spec import ModelFamily, ModelSpec, Option, OptionValue, parse_spec
from landscape.models.user import build_from_factory

__all__ = ["MODELS", "ModelFamily", "ModelSpec", "Option", "OptionValue", "build_model", "parse_model"]

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


def parse_model(text: str) -> ModelSpec:
    """Parse `NAME`, `NAME:key=value,...` or `module:factory`; see `parse_spec`.

    Raises:
        OptionError: the name, an option or a value is unknown; near names are offered.
    """
    return parse_spec(text, MODELS)


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
        ModelError: the spec and the data disagree, an option stays open, the images are too small, or a user's
            factory fails.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if spec.is_factory:
            return build_from_factory(spec.name)
        family = _family(spec.name)
        if size is not None and size < family.minimum_size:
            raise ModelError(
                f"{spec} takes images of {family.minimum_size}x{family.minimum_size} pixels or more, "
                f"got {size}x{size}; upsample them or choose another network."
            )
        return family.build(**_resolve(spec, family, {"classes": classes, "channels": channels, "size": size}))


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
