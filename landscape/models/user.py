"""A user's own network, named as `module:factory`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path

from torch import nn

from landscape.errors import ModelError


def build_from_factory(name: str) -> nn.Module:
    """Import `module` of `module:factory`, also from the current folder, call `factory()` and return its network.

    This runs the user's code, which is what the user asks for by naming it.

    Raises:
        ModelError: the module is not found or fails, it has no such factory, or what comes back is no `nn.Module`.
    """
    module_name, _, path = name.partition(":")
    with _current_folder_importable():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise ModelError(f"{name}: importing {module_name} failed: {error}.") from error
            raise ModelError(
                f"{name}: there is no module {module_name!r} in {Path.cwd()} or among the installed packages; "
                "start where it can be imported, or name a model that is known."
            ) from None
        except Exception as error:  # a user's module may fail in any way
            raise ModelError(f"{name}: importing {module_name} failed: {type(error).__name__}: {error}") from error
        try:
            factory = reduce(getattr, path.split("."), module)
        except AttributeError:
            raise ModelError(f"{name}: the module {module_name} ({module.__file__}) has no {path!r}.") from None
        if not callable(factory):
            raise ModelError(
                f"{name}: expected a function or class that makes the network, got a {type(factory).__name__}."
            )
        try:
            model = factory()
        except Exception as error:  # a user's factory may fail in any way
            raise ModelError(f"{name}: calling {path}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name}: expected {path}() to return a torch.nn.Module, got a {type(model).__name__}.")
    return model


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    # An installed command's search path begins with its own folder, where `python -m` would put the current one.
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's module may have changed the path
            sys.path.remove(folder)
