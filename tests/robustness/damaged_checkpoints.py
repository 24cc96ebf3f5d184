"""Damaged and hostile checkpoints: each a way to spoil a good file, drawn by number, the same for the same seed."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn


@dataclass(frozen=True)
class Damaged:
    """A spoilt file: how it was made, the ending of its name, its bytes."""

    number: int
    how: str
    suffix: str
    content: bytes

    def __str__(self) -> str:
        return f"checkpoint {self.number}: {self.how}"


class Call:
    """Pickled, it is a call on loading."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def damaged(payload: dict[str, Any], number: int, seed: int) -> Damaged:
    """Spoilt form `number` of the checkpoint that holds `payload` (in our format, tensors and plain values)."""
    draw = random.Random(f"{seed}/{number}")
    kinds = (bytes_spoilt, bytes_spoilt, structure_spoilt, structure_spoilt, shapes_spoilt, hostile)
    turn, kind = divmod(number, len(kinds))
    how, suffix, content = kinds[kind](payload, draw, turn)
    return Damaged(number, how, suffix, content)


# -- files whose bytes were damaged -------------------------------------------------------------------------------


def saved(payload: Any, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(payload, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def good(payload: dict[str, Any], form: str) -> tuple[str, bytes]:
    """The ending of the name and the bytes of an undamaged file."""
    if form == "ours":
        return ".pt", saved(payload)
    weights = dict(payload["state_dict"])
    if form == "safetensors":
        return ".safetensors", save(weights)
    return ".pth", saved(weights, zipped=form == "state dict")


WAYS = ("cut", "flip", "flip", "flip many", "zeros", "ones", "insert", "delete", "twice", "ending", "noise")
FORMS = ("ours", "state dict", "old", "safetensors")


def bytes_spoilt(payload: dict[str, Any], draw: random.Random, turn: int) -> tuple[str, str, bytes]:
    form = draw.choice(FORMS)
    suffix, content = good(payload, form)
    size = len(content)
    # heads and tails hold what says how the rest is to be read
    near = draw.randrange(min(size, 1500))
    place = draw.choice((draw.randrange(size), near, size - 1 - near))
    match draw.choice(WAYS):
        case "cut":
            how, content = f"cut at {place}", content[:place]
        case "flip":
            flipped = content[place] ^ 1 << draw.randrange(8)
            how, content = f"a bit of byte {place} flipped", _put(content, place, bytes([flipped]))
        case "flip many":
            how = "64 bits flipped"
            for _ in range(64):
                p = draw.randrange(size)
                content = _put(content, p, bytes([content[p] ^ 1 << draw.randrange(8)]))
        case "zeros":
            how, content = f"64 zeros at {place}", _put(content, place, bytes(64))
        case "ones":
            how, content = f"16 bytes 0xff at {place}", _put(content, place, b"\xff" * 16)
        case "insert":
            how, content = f"7 bytes put in at {place}", content[:place] + draw.randbytes(7) + content[place:]
        case "delete":
            how, content = f"5 bytes taken out at {place}", content[:place] + content[place + 5 :]
        case "twice":
            how, content = "the file twice", content + content
        case "ending":
            suffix = draw.choice((".pt", ".safetensors", ".ckpt"))
            how = f"named {suffix}"
        case _:
            how, content = f"noise after byte {place}", content[:place] + draw.randbytes(size - place)
    return f"{form}, {how}", suffix, content


def _put(content: bytes, place: int, part: bytes) -> bytes:
    return content[:place] + part[: len(content) - place] + content[place + len(part) :]


# -- files that hold something else --------------------------------------------------------------------------------


def junk(draw: random.Random) -> Any:
    """A value that has no place in a checkpoint, or not in that place."""
    made: list[Callable[[], Any]] = [
        lambda: None, lambda: -1, lambda: 2**70, lambda: nan, lambda: "", lambda: "x" * 10_000, lambda: [],
        lambda: {}, lambda: [1, [2, [3]]], lambda: {"a": {"b": None}}, lambda: True, lambda: (),
        lambda: torch.zeros(()), lambda: torch.zeros(0), lambda: torch.zeros(3, 0, 2), lambda: torch.full((4,), nan),
        lambda: torch.zeros(2, dtype=torch.complex64), lambda: torch.zeros(2, dtype=torch.bool),
        lambda: torch.zeros(64, 4, dtype=torch.float16), lambda: torch.zeros(2, 2).to_sparse(),
        _quantized, lambda: torch.zeros(5, dtype=torch.int8), lambda: np.float64(0.5), lambda: np.arange(4),
        lambda: nn.Parameter(torch.ones(2)), lambda: Path("x"), lambda: OrderedDict(a=1),
        lambda: torch.zeros(1).expand(2**40), lambda: torch.device("cuda"), lambda: torch.Size((2,)),
    ]  # fmt: skip
    return draw.choice(made)()


def _quantized() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are on their way out, and in files for long
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def structure_spoilt(payload: dict[str, Any], draw: random.Random, turn: int) -> tuple[str, str, bytes]:
    spoilt = copy.deepcopy(payload)
    told = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        place, key = _somewhere(spoilt, draw)
        match draw.choice(("replace", "replace", "replace", "drop", "rename")):
            case "replace":
                value = junk(draw)
                told.append(f"{key!r} is {type(value).__name__} {str(value)[:40]!r}")
                place[key] = value
            case "drop":
                told.append(f"{key!r} is not there")
                del place[key]
            case _:
                other: Any = draw.choice((0, None, "", "format", (1, 2), f"{key}.x"))
                told.append(f"{key!r} is named {other!r}")
                place[other] = place.pop(key)
        if not spoilt:
            break
    return ", ".join(told), ".pt", saved(spoilt, zipped=draw.random() < 0.8)


def _somewhere(payload: dict[Any, Any], draw: random.Random) -> tuple[dict[Any, Any], Any]:
    """A dict in `payload`, and a key of it; the outer ones as often as the inner ones."""
    place = payload
    while True:
        key = draw.choice(list(place))
        inner = place[key]
        if not isinstance(inner, dict) or not inner or draw.random() < 0.3:
            return place, key
        place = inner


# -- shapes that cannot be -----------------------------------------------------------------------------------------


def _storage(count: int) -> torch.storage.TypedStorage:
    untyped = torch.zeros(count).untyped_storage()
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=torch.float32, _internal=True)


SIZES = [
    *((2**40,), (2**31, 2**31), (2**62,), (2**63 - 1,), (-1,), (2**33, 0), (4, 64), (10**6, 10**6), (1,) * 200),
]


class _Rebuilt:
    """Pickled, it is a tensor rebuilt from a storage with a size, strides and an offset of one's own."""

    def __init__(self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.parts = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, self.parts


def shapes_spoilt(payload: dict[str, Any], draw: random.Random, turn: int) -> tuple[str, str, bytes]:
    weights = dict(payload["state_dict"])
    name = draw.choice(list(weights))
    size = draw.choice(SIZES)
    if draw.random() < 0.4:
        return _header_spoilt(weights, name, size, draw)
    stride = draw.choice([(0,) * len(size), (1,) * len(size), (2**62,) * len(size), (-1,) * len(size), ()])
    offset = draw.choice((0, 0, -1, 2**40))
    storage = _storage(8)
    weights[name] = _Rebuilt(storage, offset, size, stride)  # type: ignore[assignment]
    spoilt = {**payload, "state_dict": weights} if draw.random() < 0.5 else weights
    how = f"{name} of size {size[:3]}, strides {stride[:3]}, offset {offset}"
    return how, ".pt", saved(spoilt, zipped=draw.random() < 0.5)


def _header_spoilt(
    weights: dict[str, Tensor], name: str, size: tuple[int, ...], draw: random.Random
) -> tuple[str, str, bytes]:
    content = save(weights)
    length = struct.unpack("<Q", content[:8])[0]
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    match draw.choice(("shape", "offsets", "dtype", "length", "overlap", "deep", "text")):
        case "shape":
            header[name]["shape"] = list(size)
        case "offsets":
            header[name]["data_offsets"] = draw.choice(([0, 2**62], [8, 4], [-4, 4], ["0", "4"], [0]))
        case "dtype":
            header[name]["dtype"] = draw.choice(("F65", "I64", 3, None, "BOOL", "F8_E4M3"))
        case "length":
            length = draw.choice((0, 1, 2**63, 2**40, len(content), length - 1))
            return f"safetensors, header of {length}", ".safetensors", struct.pack("<Q", length) + content[8:]
        case "overlap":
            header["more"] = dict(header[name])
        case "deep":
            text = b"[" * 100_000
            return "safetensors, a deep header", ".safetensors", struct.pack("<Q", len(text)) + text
        case _:
            header["__metadata__"] = draw.choice((3, {"a": 1}, {"format": "pt" * 10_000}, None))
    text = json.dumps(header).encode()
    how = f"safetensors, {name} is {str(header[name])[:90]}"
    return how, ".safetensors", struct.pack("<Q", len(text)) + text + rest


# -- files that want to be run, or to run for ever -----------------------------------------------------------------


def hostile(payload: dict[str, Any], draw: random.Random, turn: int) -> tuple[str, str, bytes]:
    kinds: dict[str, Callable[[], bytes]] = {
        "a command": lambda: _with(payload, Call(os.system, "touch hacked"), draw),
        "an evaluation": lambda: _with(payload, Call(eval, "open('hacked', 'w').close()"), draw),
        "an import": lambda: _with(payload, Call(__import__, "antigravity"), draw),
        "a loader": lambda: _with(payload, Call(torch.load, "noise.bin"), draw),
        "a bare pickle": lambda: pickle.dumps({"state_dict": Call(os.system, "touch hacked")}, draw.randrange(6)),
        "a spelled call": lambda: b"cos\nsystem\n(S'touch hacked'\ntR.",
        "an instance": lambda: b"(S'touch hacked'\nios\nsystem\n.",
        "a state that calls": lambda: b"\x80\x02ctorch._utils\n_rebuild_from_type_v2\n(cos\nsystem\n"
        b"X\x0c\x00\x00\x00touch hacked\x85}tR.",
        "deep lists": lambda: b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
        "deep tuples in a dict": lambda: saved_raw(b"\x80\x02}X\x05\x00\x00\x00modelK\x01" + b"\x85" * 50_000 + b"s."),
        "itself many times": lambda: saved_raw(_in_itself(200)),
        "laughs": lambda: saved_raw(_laughs(40)),
        "a long number": lambda: saved_raw(b"\x80\x02\x8b" + struct.pack("<i", 2_000_000) + b"\x7f" * 2_000_000 + b"."),
        "a promised text": lambda: saved_raw(b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x."),
        "a promised array": lambda: saved_raw(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x."),
        "a far memo": lambda: saved_raw(b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b"."),
        "a big range": lambda: _with(payload, range(10**15), draw),
        "a large array": lambda: saved_raw(_large_array()),
        "a packed archive": lambda: _packed(payload),
        "an archive of zeros": lambda: _bomb(),
        "an archive without a pickle": lambda: _archive({"x/readme": b"hello"}),
        "a program": lambda: saved_raw(b"\x80\x02}.", {"constants.pkl": b"\x80\x02).", "code/run.py": PROGRAM}),
        "a storage that is not there": lambda: saved_raw(_one_tensor("7", 4)),
        "a storage elsewhere": lambda: saved_raw(_one_tensor("../../etc/passwd", 4)),
        "a storage too large": lambda: saved_raw(_one_tensor("0", 2**40), {"data/0": bytes(16)}),
    }  # fmt: skip
    name = list(kinds)[turn % len(kinds)]
    suffix = draw.choice((".pt", ".pth", ".ckpt", ".th"))
    return name, suffix, kinds[name]()


def _with(payload: dict[str, Any], evil: Any, draw: random.Random) -> bytes:
    spoilt = copy.deepcopy(payload)
    place, key = _somewhere(spoilt, draw)
    place[key] = evil
    return saved(spoilt, zipped=draw.random() < 0.5)


PROGRAM = b"import os\nos.system('touch hacked')\n"


def saved_raw(
    stream: bytes, more: Mapping[str, bytes] = MappingProxyType({}), method: int = zipfile.ZIP_STORED
) -> bytes:
    """A pickle written by hand, in torch's zip format."""
    return _archive(
        {f"x/{name}": part for name, part in {"data.pkl": stream, "version": b"3\n", **more}.items()}, method
    )


def _archive(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _in_itself(keys: int) -> bytes:
    """A dict that holds itself under so many keys."""
    stream = b"\x80\x02}q\x00("
    for key in range(keys):
        stream += b"X" + struct.pack("<I", 4) + f"{key:04}".encode() + b"h\x00"
    return stream + b"u."


def _laughs(levels: int) -> bytes:
    """A dict of two of a dict of two of ..., one of each level: two to the power of `levels` ways to the end."""
    stream = b"\x80\x02}q\x00"
    for level in range(1, levels):
        inner = b"h" + bytes([level - 1])
        stream += b"}q" + bytes([level]) + b"(U\x05model" + inner + b"U\x06module" + inner + b"u"
    return stream + b"."


def _large_array() -> bytes:
    return pickle.dumps({"w": np.zeros(3)}, 2).replace(b"K\x03", b"\x8a\x06" + (2**40).to_bytes(6, "little"))


def _packed(payload: dict[str, Any]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved(payload))) as archive:
        return _archive({name: archive.read(name) for name in archive.namelist()}, zipfile.ZIP_DEFLATED)


def _bomb() -> bytes:
    """Two hundred thousand bytes that say to be a tensor of two hundred million."""
    size = 200_000_000
    return saved_raw(_one_tensor("0", size // 4), {"data/0": bytes(size)}, zipfile.ZIP_DEFLATED)


def _one_tensor(key: str, count: int) -> bytes:
    """The pickle of {"w": tensor} whose storage has the name `key` and `count` floats."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, torch.storage.TypedStorage):
                return ("storage", torch.FloatStorage, key, "cpu", count)
            return None

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"w": _Rebuilt(_storage(4), 0, (count,), (1,))})
    return buffer.getvalue()
