from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.unpickling import PLAIN_GLOBALS, PlainArray, load_plain, scan


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array([1, -2], dtype=">i4"),
        np.array([[True], [False]]),
        np.array(["a", "longer"]),
        np.zeros((0, 3), dtype=np.float32),
        np.array(1 + 2j),
    ],
)
def test_plain_arrays_come_back_with_their_numbers(array: np.ndarray, protocol: int) -> None:
    found = load_plain(io.BytesIO(pickle.dumps({"x": array}, protocol)))["x"]
    assert isinstance(found, PlainArray)
    assert found.array.dtype == array.dtype
    np.testing.assert_array_equal(found.array, array)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_scalars_come_back(protocol: int) -> None:
    values = {"a": [1, 2.5, "é", b"\x00\xff", None, True], "b": (1, (2,)), "c": np.float32(1.5), "d": np.int64(-7)}
    found = load_plain(io.BytesIO(pickle.dumps(values, protocol)))
    assert found == {"a": [1, 2.5, "é", b"\x00\xff", None, True], "b": (1, (2,)), "c": 1.5, "d": -7}
    assert type(found["c"]) is float


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, None], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        OrderedDict(a=1),
        Path("x"),
        os.system,
        np.random.RandomState(0),
        {1, 2},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_anything_else_is_refused(value: object, protocol: int) -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"it names|not plain data|plain numbers"):
        load_plain(io.BytesIO(pickle.dumps(value, protocol)))


# An array pickle whose type carries the flags of a Python object: to NumPy's own rebuilding functions the bytes that
# follow would be pointers.
_OBJECT_FLAGS = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85c_codecs\nencode\n"
    b"X\x01\x00\x00\x00bX\x06\x00\x00\x00latin1\x86R\x87R(K\x01K\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00O8"
    b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb\x89C\x08AAAAAAAAtb."
)


def test_a_type_that_would_turn_bytes_into_pointers_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="'O8' is not plain data"):
        load_plain(io.BytesIO(_OBJECT_FLAGS))


def test_no_allowed_name_can_import_look_up_or_run() -> None:
    forbidden = {getattr, setattr, eval, exec, compile, open, __import__, type, object, print, map, filter}
    assert not forbidden & set(PLAIN_GLOBALS.values())
    assert not {name for name in PLAIN_GLOBALS if name.partition(".")[0] in {"os", "sys", "subprocess", "importlib"}}


@pytest.mark.parametrize("protocol", range(6))
def test_scan_names_what_pickletools_names_without_executing(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trace}",)

    found = scan(io.BytesIO(pickle.dumps({"epoch": 3, "model": [Evil(), Evil()], "path": Path("a")}, protocol)))
    assert f"{os.system.__module__}.system" in found.refused
    assert "pathlib.PosixPath" not in found.refused
    assert found.keys[found.refused[0]] == "model"
    assert found.is_mapping == (protocol > 0)
    assert found.is_whole
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_scan_reads_both_formats_of_torch(zipped: bool) -> None:
    file = io.BytesIO()
    torch.save({"m": torch.nn.Linear(2, 1)}, file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    found = scan(file)
    assert "torch.nn.modules.linear.Linear" in found.refused
    assert found.holds_module
    assert found.is_mapping
    plain = io.BytesIO()
    torch.save(torch.nn.Linear(2, 1).state_dict(), plain, _use_new_zipfile_serialization=zipped)
    plain.seek(0)
    assert scan(plain).refused == ()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello", b"\x80\x02}", b"PK\x03\x04broken"])
def test_scan_survives_anything(content: bytes) -> None:
    assert scan(io.BytesIO(content)).globals == ()
