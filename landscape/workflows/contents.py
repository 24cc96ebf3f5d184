"""A hash of what a Python object is made of: tensors, settings, and the code that it runs.

Two objects of one digest compute the same. What decides that of a function is its code, its defaults, what it closes
over, the module-level values that it names, and the source of its file; of an object its class and its state. Code of
torch, of landscape and of Python's own library is known by its name: their versions belong to the key of whoever asks.
Installed packages are known by name, file and version; their inside is not followed.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Parts = list[Any]

_VERSIONED_APART = ("torch", "landscape", "builtins", "pybind11_builtins")
_LOADS_A_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_STANDARD = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_CLASS_BOOKKEEPING = {
    "__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__firstlineno__",
    "__static_attributes__", "__annotate__", "__annotate_func__", "__annotations_cache__", "_abc_impl",
    "__slotnames__",  # written by copying or pickling an instance
}  # fmt: skip
# the mode is set anew in each forward pass; the lists repeat parameters, partly as weak references
_MODULE_BOOKKEEPING = {"training", "_flat_weights", "_flat_weight_refs", "_compiled_call_impl"} | {
    name
    for name in vars(nn.Module())
    if "state_dict" in name  # hooks of saving and loading
}
_NAMED_ONLY = (
    types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType,
    types.MemberDescriptorType, types.GetSetDescriptorType,
)  # fmt: skip


class UnknowableError(Exception):
    """What an object does cannot be known from outside; the message says of which."""


class Contents:
    """Digests of objects, each object read once."""

    def __init__(self) -> None:
        self._done: dict[int, str] = {}
        self._open: dict[int, int] = {}
        self._kept: list[object] = []  # an id belongs to an object only as long as that lives
        self._files: dict[str, str] = {}

    def digest(self, value: Any) -> str:
        """SHA-256 of `value` as hexadecimal text. Cost: about 1 s for a gigabyte of tensors.

        Raises:
            UnknowableError: it holds something whose code or state cannot be read.
        """
        if value is None or value is Ellipsis or type(value) in (bool, int, float, complex, str, bytes):
            return _hash([type(value).__name__, repr(value)])
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open:
            return _hash(["one that is being read", self._open[id(value)]])
        self._open[id(value)] = len(self._open)
        self._kept.append(value)
        try:
            result = _hash([self._resolve(part) for part in self._parts(value)])
        except RecursionError as error:
            raise UnknowableError(f"a {type(value).__name__} is nested too deeply") from error
        finally:
            del self._open[id(value)]
        self._done[id(value)] = result
        return result

    def _resolve(self, part: Any) -> Any:
        return self.digest(part.value) if isinstance(part, _Within) else part

    def _parts(self, value: Any) -> Parts:
        match value:
            case Tensor():
                return _of_tensor(value)
            case nn.Module():
                return self._of_network(value)
            case np.ndarray() if not value.dtype.hasobject:
                raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
                return ["array", str(value.dtype), list(value.shape), hashlib.sha256(raw).hexdigest()]
            case types.FunctionType():
                return self._of_function(value)
            case types.MethodType():
                return ["method", _Within(value.__func__), _Within(value.__self__)]
            case types.BuiltinFunctionType():
                owner = value.__self__
                plain = owner is None or isinstance(owner, (type, types.ModuleType)) or _is_torch(owner)
                return ["builtin", str(value.__module__), value.__qualname__, None if plain else _Within(owner)]
            case type():
                return self._of_class(value)
            case types.ModuleType():
                return ["module", *self._origin(value.__name__)]
            case types.CodeType():
                return self._of_code(value)
            case property():
                return ["property", *map(_Within, (value.fget, value.fset, value.fdel))]
            case staticmethod() | classmethod():
                return [type(value).__name__, _Within(value.__func__)]
            case functools.cached_property():
                return ["cached property", _Within(value.func)]
            case functools._lru_cache_wrapper():
                return ["cached", _Within(value.__wrapped__)]
            case set() | frozenset():
                return [type(value).__name__, sorted(self.digest(item) for item in value)]
        if isinstance(value, _NAMED_ONLY):
            return ["named", _Within(value.__objclass__), value.__name__]
        if type(value) in (tuple, list):
            return [type(value).__name__, *map(_Within, value)]
        if type(value) is dict or isinstance(value, types.MappingProxyType):
            return ["mapping", *(_Within(part) for item in value.items() for part in item)]
        return self._of_object(value)

    def _of_object(self, value: Any) -> Parts:
        """Any other object, by what it would hand to be copied: its class and its state."""
        if isinstance(value, (weakref.ref, types.GeneratorType, types.FrameType)):
            raise UnknowableError(f"a {type(value).__name__} has no readable state")
        try:
            state = value.__reduce_ex__(4)
        except Exception as error:  # an object's own code may fail in any way
            raise UnknowableError(f"a {type(value).__name__} has no readable state") from error
        if isinstance(state, str):
            return ["global", _Within(type(value)), state]
        parts = [list(part) if isinstance(part, Iterator) else part for part in state]
        return ["object", _Within(type(value)), *map(_Within, parts)]

    def _of_network(self, module: nn.Module) -> Parts:
        if isinstance(module, torch.jit.ScriptModule):
            raise UnknowableError("a TorchScript network does not show its source")
        parts: Parts = ["network", _Within(type(module))]
        for name, value in sorted(vars(module).items()):
            if name in _MODULE_BOOKKEEPING:
                continue
            hooks = name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
            # hooks are registered under numbers that count all hooks of the process
            parts += [name, _Within(list(value.values()) if hooks and isinstance(value, dict) else value)]
        return parts

    def _of_function(self, function: types.FunctionType) -> Parts:
        # functools.wraps gives a wrapper the name and module of what it wraps; its globals are still its own
        module = function.__globals__.get("__name__")
        if not isinstance(module, str):
            raise UnknowableError(f"the source of {function.__qualname__} is in no file")
        origin = self._origin(module)
        kind = _kind(module)
        if kind != "own" and _is_found(function, module):
            return ["function", *origin, function.__qualname__]
        if kind == "own":
            _check_written_down(function)
        # an installed package's globals are its version's
        used = _used(function) if kind == "own" else {}
        globals_ = [part for name, value in used.items() for part in (name, _Within(value))]
        cells = [_Within(_content(cell)) for cell in function.__closure__ or ()]
        own = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        defaults = (function.__defaults__, function.__kwdefaults__, own)
        return ["function", *origin, _Within(function.__code__), *map(_Within, defaults), *cells, "names", *globals_]

    def _of_code(self, code: types.CodeType) -> Parts:
        flags = [code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags]
        names = [list(code.co_names), list(code.co_varnames), list(code.co_freevars), list(code.co_cellvars)]
        return ["code", code.co_name, code.co_code.hex(), flags, names, *map(_Within, code.co_consts)]

    def _of_class(self, kind: type) -> Parts:
        origin = self._origin(kind.__module__)
        if _kind(kind.__module__) != "own" and _is_found(kind, kind.__module__):
            return ["class", *origin, kind.__qualname__]
        inside = {name: value for name, value in sorted(vars(kind).items()) if name not in _CLASS_BOOKKEEPING}
        return ["class", *origin, kind.__qualname__, *map(_Within, kind.__bases__), _Within(inside)]

    def _origin(self, module: str) -> list[str]:
        """The module, and the hash of its file unless the module's version is known apart."""
        kind = _kind(module)
        if kind == "known":
            return [module]
        loaded = sys.modules[module]
        if kind == "own":
            return [module, self._file(str(loaded.__file__))]
        package = sys.modules.get(module.partition(".")[0])
        version = str(getattr(package, "__version__", ""))
        return [module, version, self._file(str(loaded.__file__))]

    def _file(self, path: str) -> str:
        if path not in self._files:
            try:
                self._files[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError as error:
                raise UnknowableError(f"{path} cannot be read") from error
        return self._files[path]


class _Within:
    """An object inside another: it goes in by its digest."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _hash(parts: Parts) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _of_tensor(tensor: Tensor) -> Parts:
    kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise UnknowableError(f"a {tensor.layout} tensor of {tensor.dtype} on {tensor.device} has no plain bytes")
    # bytes are a view of another type, which needs at least one dimension
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    raw = hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
    return ["tensor", kind, str(tensor.dtype), list(tensor.shape), tensor.requires_grad, raw]


def _is_torch(owner: object) -> bool:
    return type(owner).__module__.partition(".")[0] == "torch" and not isinstance(owner, (Tensor, nn.Module))


def _kind(module: str) -> str:
    """Whose code a module is: `known` (versioned apart), `installed` or the user's `own`.

    Raises:
        UnknowableError: it is in no file: typed in, or made while the program runs.
    """
    if module.partition(".")[0] in _VERSIONED_APART:
        return "known"
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is None:
        if module != "__main__" and module.partition(".")[0] in sys.stdlib_module_names:
            return "known"
        raise UnknowableError(f"the module {module!r} is in no file")
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return "installed"
    return "known" if any(path.is_relative_to(folder) for folder in _STANDARD) else "own"


def _is_found(value: type | types.FunctionType, module: str) -> bool:
    """Whether the module has it under its name: not so for what a function made while the program ran."""
    found: Any = sys.modules.get(module)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _check_written_down(function: types.FunctionType) -> None:
    file = function.__code__.co_filename
    generated = file.startswith("<")  # methods that dataclasses write have no file; their class has
    if not generated and not Path(file).is_file():
        raise UnknowableError(f"the source of {function.__qualname__} is in no file")


def _used(function: types.FunctionType) -> dict[str, Any]:
    """The module-level values that a function names, and those that it may take from the user's other modules."""
    around, codes = function.__globals__, list(_codes(function.__code__))
    loaded = {i.argval for code in codes for i in dis.get_instructions(code) if i.opname in _LOADS_A_GLOBAL}
    names = sorted(loaded & around.keys())
    used = {name: around[name] for name in names}
    attributes = sorted({name for code in codes for name in code.co_names})
    for home in names:
        module = around[home]
        if isinstance(module, types.ModuleType) and _kind(module.__name__) == "own":
            used |= {f"{home}.{name}": vars(module)[name] for name in attributes if name in vars(module)}
    return used


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


__all__ = ["Contents", "UnknowableError"]
