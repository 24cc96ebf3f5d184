"""Reading checkpoints, ours and anybody's, without running what is in them; writing ours whole or not at all.

Our own format is a torch file of one dict:

    {"format": "landscape.checkpoint/1", "state_dict": {name: tensor}, "description": {...}, ...}

with tensors and plain values only, so that it loads with `weights_only=True`. Keys beside these (optimizer, RNG
state) belong to the training loop and come back from `read_training_state`.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shlex
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import Parameter

from landscape.archives import fault_of_archive
from landscape.checkpoint_folder import is_sharded, joint_digest, weight_files
from landscape.config.description import Description
from landscape.config.recipe import validate
from landscape.errors import CheckpointError, OptionError, near
from landscape.files import write_atomically
from landscape.state_dict import check_dense, check_finite, few, find_state_dict, strip_prefixes
from landscape.unpickling import PLAIN_GLOBALS, Inert, PickleScan, scan
from landscape.weight_loading import load_tensors

__all__ = [
    "FORMAT",
    "Checkpoint",
    "check_finite",
    "load_tensors",
    "read_checkpoint",
    "read_training_state",
    "write_checkpoint",
]

FORMAT = "landscape.checkpoint/1"
_SIBLINGS = 10
_OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_states")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: where it was read, a file or a folder.
        sha256: of the file's bytes, in hexadecimal; of several files, see `checkpoint_folder.joint_digest`.
        tensors: parameters and buffers by name, wrapper prefixes removed, on the CPU, detached.
        description: our own self-description (model, data, normalisation, config, epoch, metrics), else None.
        optimizer: the state dict of an optimizer that the file holds beside the network, as torch writes it; else None.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    description: Mapping[str, Any] | None
    optimizer: Mapping[str, Any] | None = None


def read_checkpoint(path: Path | str, key: str | None = None) -> Checkpoint:
    """Read the named tensors of a checkpoint: .pt, .pth, .th, .ckpt, .bin (torch, both formats), .safetensors, or a
    folder of transformers' layout with its shards.

    Without `key` the state dict is the whole file if that maps names to tensors, else the one nested under
    `state_dict`, `model_state_dict`, `model` or `module` (also one in another). `key` is a dotted path to it, or the
    beginning that the names of one of several networks share (`model`, `ema_model`).
    The prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile) go where all names carry them; others, such
    as Lightning's `model.`, where `load_tensors` finds that the network's names fit without.

    Raises:
        CheckpointError: the file is missing, empty, truncated, no checkpoint, unsafe, or holds no state dict or
            several; nothing in it was executed.
    """
    path = Path(path)
    if is_sharded(path):
        return _read_folder(path, key)
    payload = _read_payload(path)
    _check_format(payload, path)
    is_ours = _is_ours(payload)
    found = find_state_dict(payload, "state_dict" if is_ours and key is None else key, path)
    check_dense(found, path)
    tensors = {name: tensor.detach() for name, tensor in strip_prefixes(found).items()}
    description = payload["description"] if is_ours else None
    return Checkpoint(path, _sha256(path), tensors, description, _optimizer_state(payload))


def _optimizer_state(payload: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """The state dict of the one optimizer under a usual key (Lightning keeps a list of them)."""
    for key in _OPTIMIZER_KEYS:
        state = payload.get(key)
        if isinstance(state, (list, tuple)) and len(state) == 1:
            (state,) = state
        if isinstance(state, Mapping) and {"state", "param_groups"} <= state.keys() and _has_rates(state):
            return state
    return None


def _has_rates(state: Mapping[str, Any]) -> bool:
    groups = state["param_groups"]
    whole = isinstance(groups, (list, tuple)) and isinstance(state["state"], Mapping) and len(groups) > 0
    return whole and all(isinstance(g, Mapping) and {"lr", "params"} <= g.keys() for g in groups)


def _read_folder(path: Path, key: str | None) -> Checkpoint:
    files, places = weight_files(path)
    parts = {file: read_checkpoint(file) for file in files}
    tensors: dict[str, Tensor] = {}
    for file, part in parts.items():
        wrong = [name for name in part.tensors if places is not None and places.get(name) != file.name]
        if wrong:
            raise CheckpointError(f"{path}: {file.name} holds {few(wrong)}, which its index does not place there.")
        tensors |= part.tensors
    lost = [name for name in places or () if name not in tensors]
    if lost:
        raise CheckpointError(f"{path}: its index names tensors that are in no file: {few(lost)}; download it again.")
    if key is not None:
        tensors = dict(find_state_dict(tensors, key, path))
    return Checkpoint(path, joint_digest({file.name: part.sha256 for file, part in parts.items()}), tensors, None)


def read_training_state(path: Path | str) -> dict[str, Any]:
    """Read everything that `write_checkpoint` wrote: what a resumed run needs.

    Raises:
        CheckpointError: as `read_checkpoint`; also for a checkpoint that `landscape train` did not write.
    """
    path = Path(path)
    payload = _read_payload(path)
    _check_format(payload, path)
    if not _is_ours(payload):
        raise CheckpointError(
            f"{path}: expected a checkpoint that `landscape train` wrote ({FORMAT}), got another program's; "
            "it can be analyzed, but not resumed."
        )
    return dict(payload)


def write_checkpoint(path: Path | str, payload: Mapping[str, Any]) -> None:
    """Write `payload` (with `state_dict` and `description`) in our format to `path`, whole or not at all.

    Raises:
        CheckpointError: a value is neither a tensor nor plain (str, int, float, bool, None, list, tuple, dict).
        WriteError: the file cannot be written.
    """
    whole = {"format": FORMAT, **payload}
    missing = {"state_dict", "description"} - whole.keys()
    assert not missing, f"a checkpoint needs {sorted(missing)}"
    _check_plain(whole, "checkpoint")
    # Through memory: torch's writer turns a full disk into an error of its own.
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    write_atomically(Path(path), buffer.getvalue())


def _read_payload(path: Path) -> Mapping[Any, Any]:
    try:
        if path.is_dir():
            weight_files(path)  # says what is there if it is no checkpoint
            raise CheckpointError(f"expected a checkpoint file, got the folder {path}; name a file in it.")
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty; copy or download it again.")
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}{_siblings(path)}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    fault = fault_of_archive(path) if head.startswith(b"PK\x03\x04") else None
    if fault is not None:
        raise CheckpointError(f"{path} is damaged: {fault}; copy or download it again.")
    try:
        payload = _load(path)
    except Exception as error:  # a damaged file can fail anywhere in the reader
        with path.open("rb") as file:
            contents = scan(file)
        if not contents.is_lightning or not _ignorable(contents):
            raise CheckpointError(_why(path, head, error, contents)) from error
        try:
            payload = _load(path, inert=contents.refused)
        except Exception as again:
            raise CheckpointError(_why(path, head, again, contents)) from again
    if isinstance(payload, Tensor):
        raise CheckpointError(f"{path}: expected named tensors, got one tensor; save the network's state_dict().")
    if not isinstance(payload, Mapping):
        raise CheckpointError(
            f"{path}: expected a dict of named tensors, got a {type(payload).__name__}; "
            "save the network's state_dict()."
        )
    return payload


def _load(path: Path, inert: tuple[str, ...] = ()) -> Any:
    """What torch's safe reader makes of the file; of what `inert` names it makes objects that do nothing."""
    allowed: list[Any] = [(stand_in, name) for name, stand_in in PLAIN_GLOBALS.items()]
    allowed += [(Inert, name) for name in inert]
    present = torch.serialization.get_safe_globals()
    with warnings.catch_warnings(), torch.serialization.safe_globals([a for a in allowed if a not in present]):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _ignorable(contents: PickleScan) -> bool:
    """Whether what a Lightning checkpoint names beside its tensors may be passed over: hyper-parameters, callbacks."""
    return bool(contents.refused) and not any(g.partition(".")[0] in _NEVER_A_NETWORK for g in contents.refused)


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return safetensors.torch.load_file(path, device="cpu")
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: expected a safetensors file, got a truncated, damaged or other one ({error}); "
            "copy or download it again."
        ) from error


def _siblings(path: Path) -> str:
    if not path.parent.is_dir():
        return f": the folder {path.parent} does not exist."
    suffixes = {".pt", ".pth", ".th", ".ckpt", ".bin", ".safetensors"}
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix in suffixes)[:_SIBLINGS]
    return f".{near(path.name, names)}" if names else f"; {path.parent} holds no checkpoint."


def _why(path: Path, head: bytes, error: Exception, contents: PickleScan) -> str:
    """Why torch could not read the file, from the file itself where it says more than the error."""
    is_zip, is_old = head.startswith(b"PK\x03\x04"), head.startswith(_OLD_MAGIC)
    if contents.refused:
        return _refusal(path, contents)
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is not None:
        return _code_refused(path, named.group(1))
    if "TorchScript" in str(error):
        return (
            f"{path}: expected tensors, got a TorchScript program; it was not run. "
            "Load it with torch.jit.load and save its state_dict()."
        )
    if isinstance(error, pickle.UnpicklingError) and (is_zip or is_old) and contents.is_whole:
        reason = str(error).splitlines()
        last = next(line for line in reversed(reason) if line and "Check the documentation" not in line)
        return f"{path}: torch's safe reader refused it ({last.strip()}); nothing was executed. Save its state_dict()."
    if is_zip or is_old:
        return f"{path} is truncated or damaged ({_first_line(error)}); copy or download it again."
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the checkpoint itself; fetch it with `git lfs pull`."
    return (
        f"{path}: expected a checkpoint (torch or .safetensors), got a file that begins with {head[:12]!r}; "
        "check the path."
    )


# The first pickle of torch's format before 1.6: protocol 2, the ten-byte magic number, stop.
_OLD_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."


def _refusal(path: Path, contents: PickleScan) -> str:
    name = next((g for g in contents.refused if not g.startswith("torch.nn.")), contents.refused[0])
    unsafe = next((g for g in contents.refused if g.partition(".")[0] in _NEVER_A_NETWORK), None)
    if unsafe is not None or not contents.holds_module:
        return _code_refused(path, unsafe or name)
    # An outermost dict holds the module under the text that stood before its class.
    key = contents.keys[contents.refused[0]] if contents.is_mapping else None
    where = f"[{key!r}]" if key is not None else ""
    target = path.with_name(f"{path.stem}-weights.pt")
    program = (
        f"import torch; torch.save(torch.load({str(path)!r}, weights_only=False){where}.state_dict(), {str(target)!r})"
    )
    return (
        f"{path} holds a whole pickled module ({name}), which only its own code can load; "
        "refused, nothing was executed."
        f"\nIf you trust it, convert it where that class can be imported: python -c {shlex.quote(program)}"
    )


_NEVER_A_NETWORK = {"os", "posix", "nt", "subprocess", "sys", "builtins", "importlib", "runpy", "shutil", "socket"}


def _code_refused(path: Path, name: str) -> str:
    return (
        f"{path}: expected tensors and plain data, got a pickle that names {name}; refused, nothing was executed. "
        "Ask for a plain state_dict or a .safetensors file."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_ours(payload: Mapping[Any, Any]) -> bool:
    return payload.get("format") == FORMAT


def _check_format(payload: Mapping[Any, Any], path: Path) -> None:
    found = payload.get("format")
    if not isinstance(found, str) or not found.startswith("landscape.checkpoint/"):
        return
    if found != FORMAT:
        raise CheckpointError(f"{path}: expected the format {FORMAT}, got {found}; use the landscape that wrote it.")
    for key in ("state_dict", "description"):
        if not isinstance(payload.get(key), Mapping):
            raise CheckpointError(
                f"{path}: a {FORMAT} file needs the dict {key!r}, which is not there; train it again."
            )
    try:
        validate(Description, {str(name): value for name, value in payload["description"].items()})
    except OptionError as error:
        raise CheckpointError(f"{path}: its description is not what `landscape train` wrote: {error}") from error


def _check_plain(value: Any, where: str) -> None:
    if value is None or type(value) in (str, int, float, bool, Tensor, Parameter):
        return
    if type(value) in (dict, OrderedDict):
        for key, inner in value.items():
            if type(key) not in (str, int):
                raise CheckpointError(f"{where}: expected keys that are texts or integers, got {key!r}.")
            _check_plain(inner, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for i, inner in enumerate(value):
            _check_plain(inner, f"{where}[{i}]")
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CheckpointError(f"{where}: expected a tensor or a plain value, got a {kind}; convert it before saving.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
