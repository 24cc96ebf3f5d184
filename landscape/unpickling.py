"""What a pickle may name, and what one names: reading foreign pickles without running what is in them. Knows no torch.

A pickle is a program: its GLOBAL instructions fetch any importable object by name and its REDUCE instructions call
it. `PLAIN_GLOBALS` is the closed list of names that are let through, and what stands for each. NumPy's own
rebuilding functions are not on it: they trust the flags that they are given, so scalars become Python numbers here
and arrays become `PlainArray`, both by `numpy.frombuffer` on checked type codes.

`scan` reads the instructions of a pickle, executes none, and says what it would have named.
"""

from __future__ import annotations

import _compat_pickle
import argparse
import collections
import datetime
import pathlib
import pickle
import pickletools
import re
import types
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


class PlainDtype:
    """Stands for `numpy.dtype` in a pickle: booleans, numbers, texts and times, never objects or records."""

    _CODE = re.compile(r"[<>|=]?(?:[biufc]\d{1,2}|[SU]\d{0,9}|[mM]8)")

    def __init__(self, code: str | bytes, _align: object = False, _copy: object = False) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not self._CODE.fullmatch(text):
            raise pickle.UnpicklingError(f"numpy type code {text!r} is not plain data")
        self.numpy: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order == ">":
            self.numpy = self.numpy.newbyteorder(">")


class PlainArray:
    """Stands for `numpy.ndarray` in a pickle; `array` is a read-only array over the stored bytes."""

    def __init__(self) -> None:
        self.array: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, PlainDtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a numpy array in it does not hold plain numbers")
        self.array = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if fortran_order else "C")


def _array(_subtype: object, _shape: object, _code: object) -> PlainArray:
    """Stands for `numpy.core.multiarray._reconstruct`: an empty array, filled by its state."""
    return PlainArray()


def _array_from_buffer(
    data: bytes, dtype: PlainDtype, shape: tuple[int, ...], order: str, *_axes: object
) -> PlainArray:
    """Stands for `numpy.core.numeric._frombuffer`, by which protocol 5 spells an array."""
    result = PlainArray()
    result.__setstate__((1, shape, dtype, order == "F", bytes(data)))
    return result


def _scalar(dtype: PlainDtype, data: bytes) -> Any:
    """Stands for `numpy.core.multiarray.scalar`: the Python value of a numpy scalar."""
    return np.frombuffer(data, dtype.numpy, count=1)[0].item()


def _bytes(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which protocol 2 spells a `bytes`."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"_codecs.encode with {encoding!r} is not plain data")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands for `bytes`, by which protocol 2 spells an empty one."""
    return b""


def _dictionary(_default_factory: object = None) -> dict[Any, Any]:
    """Stands for `collections.defaultdict`: a dict, without the callable that would fill it."""
    return {}


NUMPY_GLOBALS: Mapping[str, Callable[..., Any]] = types.MappingProxyType(
    {
        "numpy.dtype": PlainDtype,
        "numpy.ndarray": PlainArray,
        **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
        **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
        **{f"numpy.{core}.numeric._frombuffer": _array_from_buffer for core in ("core", "_core")},
        "_codecs.encode": _bytes,
        **{f"{module}.bytes": _no_bytes for module in ("builtins", "__builtin__")},
    }
)
"""What plain numpy arrays and scalars name."""

PLAIN_GLOBALS: Mapping[str, Callable[..., Any]] = types.MappingProxyType(
    {
        **NUMPY_GLOBALS,
        **{f"builtins.{t.__name__}": t for t in (bool, dict, float, frozenset, int, list, range, slice, str, tuple)},
        **{f"datetime.{t.__name__}": t for t in (datetime.date, datetime.datetime, datetime.time)},
        **{f"datetime.{t.__name__}": t for t in (datetime.timedelta, datetime.timezone)},
        "argparse.Namespace": argparse.Namespace,
        "types.SimpleNamespace": types.SimpleNamespace,
        "collections.OrderedDict": collections.OrderedDict,
        "collections.defaultdict": _dictionary,
        # A path of the other operating system cannot be made, a pure path can. Python 3.13 names the second module.
        **{
            f"{module}.{name}": pure
            for module in ("pathlib", "pathlib._local")
            for name, pure in (
                ("PosixPath", pathlib.PurePosixPath),
                ("PurePosixPath", pathlib.PurePosixPath),
                ("WindowsPath", pathlib.PureWindowsPath),
                ("PureWindowsPath", pathlib.PureWindowsPath),
            )
        },
        "torch.torch_version.TorchVersion": str,
        # Lightning keeps a run's hyper-parameters in a dict of its own.
        "pytorch_lightning.utilities.parsing.AttributeDict": dict,
        "lightning.pytorch.utilities.parsing.AttributeDict": dict,
        "lightning.fabric.utilities.data.AttributeDict": dict,
    }
)
"""What a checkpoint may name beside tensors: plain data that the common training scripts save."""


class Inert:
    """Stands for anything in a Lightning checkpoint that is no tensor and no plain data: it does and keeps nothing.

    Lightning stores a run's hyper-parameters and callbacks beside the weights: configurations, losses, partial
    functions, whole networks, of classes that need not be installed here.
    """

    def __init__(self, *_arguments: object, **_keywords: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = NUMPY_GLOBALS.get(f"{module}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known


def load_plain(file: BinaryIO) -> Any:
    """Read a pickle of plain containers, strings, numbers and numpy arrays (as `PlainArray`), and nothing else.

    Strings that Python 2 wrote come back as `bytes`.

    Raises:
        pickle.UnpicklingError: the pickle names anything outside `NUMPY_GLOBALS`; that was not imported or called.
        Exception: whatever the standard unpickler raises for a damaged stream.
    """
    return _PlainUnpickler(file, encoding="bytes").load()


@dataclass(frozen=True)
class PickleScan:
    """What a pickle names, read off its instructions.

    Attributes:
        globals: every `module.name` in the order of first naming.
        keys: for each global, the text that stood last before it: in a dict, the key under which it is stored.
        is_mapping: whether the outermost value is a plain dict.
        holds_module: whether it carries the fields of a `torch.nn.Module`'s state.
        is_lightning: whether it says that Lightning wrote it.
        is_whole: whether the pickle of the value could be read to its end.
    """

    globals: tuple[str, ...]
    keys: Mapping[str, str | None]
    is_mapping: bool
    holds_module: bool
    is_lightning: bool
    is_whole: bool

    @property
    def refused(self) -> tuple[str, ...]:
        """The globals that are neither plain data nor parts of a tensor."""
        return tuple(g for g in self.globals if g not in PLAIN_GLOBALS and not _PARTS_OF_A_TENSOR.fullmatch(g))


# What torch's own safe reader takes without being asked.
_PARTS_OF_A_TENSOR = re.compile(
    r"torch\._utils\._rebuild\w+|torch\._tensor\._rebuild_from_type_v2|torch\.serialization\._get_layout"
    r"|torch\.nn\.parameter\.Parameter|torch\.(?:(?:cuda|sparse|cuda\.sparse|storage)\.)?\w*(?:Storage|Tensor)"
    r"|torch\.(?:Size|device|bool|q?u?int\w+|b?float\w+|complex\w+|per_(?:tensor|channel)_\w+)"
    r"|collections\.Counter|builtins\.(?:bytearray|set|complex)"
)

_LIGHTNING = "pytorch-lightning_version"
_MODULE_FIELDS = {"_parameters", "_buffers", "_modules"}
_TEXT_OPCODES = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}


def scan(file: BinaryIO) -> PickleScan:
    """Read the pickles that follow each other in `file` up to the first damaged one; nothing of them is executed.

    Either a plain pickle, torch's old format (magic number, version, system, value, storage keys, then raw
    storages), or torch's zip format, whose member `data.pkl` is read. Cost: one pass over the instructions.
    """
    before: dict[str, tuple[str, ...]] = {}
    texts: set[str] = set()
    outermost: list[str] = []
    with _pickle_stream(file) as stream:
        for _ in range(5):
            try:
                outermost.append(_scan_one(stream, before, texts))
            except Exception:  # a damaged stream can fail anywhere in the parser; what was read so far stands
                break
    # torch's old format begins with a number, so its value is whole once four pickles were read.
    is_old = bool(outermost) and outermost[0].startswith("LONG")
    value = outermost[3 if is_old else 0] if len(outermost) > (3 if is_old else 0) else None
    keys: dict[str, str | None] = {}
    for name, last in before.items():
        # There, the class of a module stands in a tuple of its own, after the text "module".
        usable = last[:-1] if is_old and last[-1:] == ("module",) else last
        keys[name] = usable[-1] if usable else None
    return PickleScan(
        tuple(before), keys, value == "EMPTY_DICT", texts >= _MODULE_FIELDS, _LIGHTNING in texts, value is not None
    )


def _modern_name(module: str, name: str) -> str:
    """The name that Python 3 gives to what protocols 0 to 2 spell as Python 2 did."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def _pickle_stream(file: BinaryIO) -> BinaryIO:
    if file.read(4) == b"PK\x03\x04":
        try:
            archive = zipfile.ZipFile(file)
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return archive.open(member)  # type: ignore[return-value]  # ZipExtFile is a readable binary file
        except Exception:  # a damaged archive can fail anywhere in the reader
            pass
    file.seek(0)
    return file


def _scan_one(stream: BinaryIO, before: dict[str, tuple[str, ...]], texts: set[str]) -> str:
    """Scan one pickle: note each global with the two texts before it, and all texts; return the first instruction."""
    memo: dict[int, str | None] = {}
    pushed: list[str] = []
    last: str | None = None
    first = ""
    for opcode, argument, _position in pickletools.genops(stream):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        first = first or name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else int(str(argument))] = last
            continue
        found: str | None = None
        if name in _TEXT_OPCODES:
            last = str(argument)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            last = memo.get(int(str(argument)))
        else:
            if name in ("GLOBAL", "INST"):
                found = _modern_name(*str(argument).split(" ", 1))
            elif name == "STACK_GLOBAL":
                found = ".".join(pushed[-2:])
                del pushed[-2:]
            last = None
        if last is not None:
            pushed.append(last)
            texts.add(last)
        if found is not None:
            before.setdefault(found, tuple(pushed[-2:]))
    return first
