"""Files that are no checkpoint, are damaged, or carry code: each refused in a line or two, and nothing executed."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from landscape.checkpoint import read_checkpoint, read_training_state
from landscape.errors import CheckpointError

_FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])


class _Call:
    """Pickled, it is a call of `function` on loading."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def _said(path: Path) -> str:
    """What reading says; the same through both doors, in one or two lines."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    with pytest.raises(CheckpointError) as resumed:
        read_training_state(path)
    assert str(caught.value) == str(resumed.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def _hostile(trace: Path) -> dict[str, tuple[Any, str]]:
    command = f"touch {shlex.quote(str(trace))}"
    system = f"{os.system.__module__}.system"
    return {
        "system": (_Call(os.system, command), system),
        "eval": (_Call(eval, f"open({str(trace)!r}, 'w').close()"), "builtins.eval"),
        "popen": (_Call(subprocess.Popen, ["touch", str(trace)]), "subprocess.Popen"),
        "getattr": (_Call(_Call(getattr, os, "system"), command), "builtins.getattr"),  # type: ignore[arg-type]
        "nested in an allowed call": (_Call(Path, _Call(os.system, command)), system),
        "torch.load": (_Call(torch.load, str(trace)), "torch.serialization.load"),
    }


@_FORMATS
@pytest.mark.parametrize("name", [n for n in _hostile(Path()) if n != "getattr"])
def test_code_is_refused_by_name_and_not_executed(tmp_path: Path, name: str, zipped: bool) -> None:
    trace, path = tmp_path / "executed", tmp_path / "bad.pt"
    evil, culprit = _hostile(trace)[name]
    weights = nn.Linear(2, 2).state_dict()
    for payload in ({"state_dict": weights, "extra": evil}, [evil], evil, {"state_dict": {**weights, "w": evil}}):
        torch.save(payload, path, _use_new_zipfile_serialization=zipped)
        said = _said(path)
        assert f"names {culprit}; refused, nothing was executed" in said
        assert not trace.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_bare_pickle_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    trace, path = tmp_path / "executed", tmp_path / "bad.ckpt"
    for evil, culprit in (v for n, v in _hostile(trace).items() if n != "getattr"):
        path.write_bytes(pickle.dumps({"state_dict": evil}, protocol))
        assert f"names {culprit}; refused, nothing was executed" in _said(path)
        assert not trace.exists()


def test_code_spelled_by_hand_is_refused(tmp_path: Path) -> None:
    """Instructions that no pickler writes: a call hidden behind an allowed name, attributes set on an allowed class."""
    trace, path = tmp_path / "executed", tmp_path / "bad.pt"
    text = f"touch {trace}".encode()
    for stream in (
        b"(cos\nsystem\nS'" + text + b"'\no.",
        b"(S'" + text + b"'\nios\nsystem\n.",
        b"\x80\x02cargparse\nNamespace\n}X\x08\x00\x00\x00__init__cos\nsystem\nsb.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(text)]) + text + b"\x85R.",
    ):
        path.write_bytes(stream)
        assert "os.system; refused, nothing was executed" in _said(path)
        assert not trace.exists()


def test_the_hostile_pickles_do_their_work_where_nobody_refuses(tmp_path: Path) -> None:
    """The tests above show something only if these pickles execute when loaded carelessly."""
    for name in ("system", "eval", "nested in an allowed call"):
        trace = tmp_path / name.replace(" ", "-")
        pickled = pickle.dumps(_hostile(trace)[name][0])
        try:
            pickle.loads(pickled)
        except TypeError:
            assert name.startswith("nested")  # Path(0), after the call
        assert trace.exists()


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)


@_FORMATS
@pytest.mark.parametrize("where", ["alone", "in a dict"])
def test_a_whole_module_is_refused_with_the_line_that_converts_it(tmp_path: Path, zipped: bool, where: str) -> None:
    path = tmp_path / "it's whole.pt"
    module = _Network()
    payload = module if where == "alone" else {"epoch": 3, "net": module, "note": "x"}
    torch.save(payload, path, _use_new_zipfile_serialization=zipped)
    said = _said(path)
    assert f"holds a whole pickled module ({_Network.__module__}._Network)" in said
    assert "nothing was executed" in said
    # The line works as it stands where the class can be imported, as here.
    command = shlex.split(said.partition("imported: ")[2])
    assert command[:2] == ["python", "-c"]
    exec(command[2], {})
    converted = read_checkpoint(tmp_path / "it's whole-weights.pt")
    assert torch.equal(converted.tensors["first.weight"], module.first.weight)


def test_a_module_that_also_carries_code_is_not_offered_for_conversion(tmp_path: Path) -> None:
    path, module = tmp_path / "bad.pt", _Network()
    module.extra = _Call(os.system, "true")  # type: ignore[assignment]
    torch.save(module, path)
    said = _said(path)
    assert f"names {os.system.__module__}.system" in said
    assert "weights_only=False" not in said


# ------------------------------------------------------------------------------------------------ damaged files


@_FORMATS
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_truncated(tmp_path: Path, zipped: bool, kept: float) -> None:
    path = tmp_path / "cut.pt"
    torch.save({"state_dict": nn.Linear(40, 40).state_dict()}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "truncated or damaged" in _said(path)


def test_truncated_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "cut.safetensors"
    save_file(nn.Linear(40, 40).state_dict(), path)
    content = path.read_bytes()
    for kept in (4, 60, len(content) - 7):
        path.write_bytes(content[:kept])
        assert "truncated, damaged" in _said(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "begins with b'\\x89PNG"),
        (b"# Notes\n\nA text.\n" * 40, "begins with b'# Notes"),
        (b"<!DOCTYPE html><html>404</html>", "begins with b'<!DOCTYPE"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
        (pickle.dumps({"epoch": 3}), "begins with b'\\x80\\x04"),
        (bytes(100), "begins with b'\\x00"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "thing.pt"
    path.write_bytes(content)
    assert said in _said(path)


def test_other_zip_archives_and_programs(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "thing.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "truncated or damaged" in _said(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    assert "got the folder" in _said(tmp_path)
    assert f"the folder {tmp_path / 'no'} does not exist" in _said(tmp_path / "no" / "final.pt")
    assert "holds no checkpoint" in _said(tmp_path / "final.pt")
    (tmp_path / "final.pt").touch()
    assert "Did you mean final.pt?" in _said(tmp_path / "finl.pt")
    assert "cannot read" in _said(tmp_path / "final.pt" / "inner.pt")


def test_a_safe_pickle_that_torch_does_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "frozen.pt"
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), "names": frozenset({"a"})}, path, pickle_protocol=4)
    said = _said(path)
    assert "safe reader refused it" in said
    assert "nothing was executed" in said
