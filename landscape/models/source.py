"""Networks of other packages, `SOURCE:NAME`: what a source is, and importing a package that may not be there."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from landscape.errors import ModelError

Literal = bool | int | float | str


@dataclass(frozen=True)
class Request:
    """A network of a source as it was asked for.

    Attributes:
        name: after `SOURCE:`.
        options: keyword arguments of the package's own builder.
        size: the side of the images that it is to take, where that was given.
    """

    name: str
    options: Mapping[str, Literal]
    size: int | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ModelSource:
    """A package that builds networks by name.

    Attributes:
        name: before the colon.
        package: to be imported; `pip install` takes the same word.
        build: (package, request, classes, channels, size) -> the network with random weights; what is None is open.
        side: (package, request, size) -> the side of the images that it takes, given images of `size`.
        has_options: whether `NAME` may be followed by `:key=value,...`.
        trains: whether `landscape train` can train its networks.
    """

    name: str
    package: str
    build: Callable[[ModuleType, Request, int | None, int | None, int | None], nn.Module]
    side: Callable[[ModuleType, Request, int], int]
    has_options: bool = True
    trains: bool = True

    def load(self) -> ModuleType:
        """The package.

        Raises:
            ModelError: it is not installed, or does not fit what else is installed.
        """
        try:
            return importlib.import_module(self.package)
        except ModuleNotFoundError as error:
            if error.name == self.package:
                raise ModelError(
                    f"{self.name}:NAME needs the package {self.package}, which is not installed: "
                    f"pip install {self.package}"
                ) from None
            raise ModelError(self.broken(error)) from error
        except Exception as error:  # a package that was built for another torch may fail in any way
            raise ModelError(self.broken(error)) from error

    def broken(self, error: Exception) -> str:
        """What is said where the package is there but fails to load."""
        return (
            f"{self.name}:NAME needs the package {self.package}, which does not load beside torch {torch.__version__} "
            f"({first_line(error)}); install versions that belong together: pip install torch torchvision "
            f"{self.package}".removesuffix(" torchvision")
        )


def call_builder(network: str, build: Callable[..., Any], /, *arguments: Any, **options: Any) -> nn.Module:
    """Call a package's own builder for what errors call `network`.

    Raises:
        ModelError: it refuses the options, or gives no network.
    """
    try:
        model = build(*arguments, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, KeyError) as error:
        raise ModelError(f"{network} cannot be built so: {first_line(error)}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{network}: expected a torch.nn.Module, got a {type(model).__name__}.")
    return model


def check_options(
    network: str, options: Mapping[str, Literal], weights: Iterable[str], data: Mapping[str, Any]
) -> None:
    """Refuse options that would fetch weights, and those that contradict the data (what is None is open).

    Raises:
        ModelError: there is one.
    """
    for key in weights:
        if key in options:
            raise ModelError(f"{network} has no option {key!r} here: the weights come from the checkpoint.")
    for key, known in data.items():
        if known is not None and options.get(key, known) != known:
            raise ModelError(f"{network} has {key}={options[key]}, but the data has {known}.")


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
