"""Readers of published files, on small files of the same structure and on the real ones."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from landscape.data import DATASETS, DataSpec, ImageSet, default_normalization, load_images, parse_data
from landscape.data.idx import read_fashion_mnist, read_mnist
from landscape.data.svhn import read_svhn, read_svhn_extra
from landscape.errors import DataError, OptionError

_RNG = np.random.RandomState(0)
_GREY = _RNG.randint(0, 256, (6, 28, 28)).astype(np.uint8)
_COLOUR = _RNG.randint(0, 256, (6, 3, 32, 32)).astype(np.uint8)
_LABELS = np.array([3, 0, 9, 1, 1, 7])


def _idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(d.to_bytes(4, "big") for d in array.shape) + array.tobytes()


def _write_mnist(folder: Path, *, packed: bool, labels: np.ndarray = _LABELS, images: np.ndarray = _GREY) -> None:
    folder.mkdir(parents=True)
    for name, content in (
        ("t10k-images-idx3-ubyte", _idx(images)),
        ("t10k-labels-idx1-ubyte", _idx(labels.astype(np.uint8))),
    ):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


def _is_what_was_written(found: ImageSet, pixels: np.ndarray, labels: np.ndarray = _LABELS) -> None:
    assert torch.equal(found.images, torch.from_numpy(pixels))
    assert found.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("inner", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_from_any_level_packed_or_not(tmp_path: Path, inner: str, packed: bool) -> None:
    _write_mnist(tmp_path / "data" / inner, packed=packed)
    found = read_mnist(tmp_path / "data", "test", verify=False)
    _is_what_was_written(found, _GREY[:, None])
    assert not found.verified


def test_the_two_mnists_live_side_by_side(tmp_path: Path) -> None:
    _write_mnist(tmp_path / "MNIST" / "raw", packed=True)
    _write_mnist(tmp_path / "FashionMNIST" / "raw", packed=True, images=_GREY[::-1])
    _is_what_was_written(read_mnist(tmp_path, "test", verify=False), _GREY[:, None])
    fashion = read_fashion_mnist(tmp_path, "test", verify=False)
    _is_what_was_written(fashion, _GREY[::-1, None].copy())
    assert fashion.classes[9] == "Ankle boot"


def _truncate_inside(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[:-10])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[: len(content) // 2], "truncated or damaged"),
        (lambda _content: b"", "truncated or damaged|IDX"),
        (lambda _content: b"<html>not found</html>", "truncated or damaged"),
        (_truncate_inside, "expected 4704 bytes of data, got 4694"),
        (lambda _content: gzip.compress(_idx(_LABELS.astype(np.uint8))), "beginning with 00000803, got 00000801"),
        (lambda _content: gzip.compress(_idx(_GREY[:, :27])), r"shape \(28, 28\), got \(27, 28\)"),
        (lambda _content: gzip.compress(_idx(_GREY[:5])), "got 6 and 5"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    _write_mnist(tmp_path / "raw", packed=True)
    path = tmp_path / "raw" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=said):
        read_mnist(tmp_path, "test", verify=False)


def test_a_file_of_another_md5_is_corrupt_and_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    _write_mnist(tmp_path / "raw", packed=True, labels=np.array([3, 0, 9, 11, 1, 7]))
    with pytest.raises(DataError, match=r"corrupt: expected md5 9fb629c4189551a2d022fa330f9573f3, got .*download"):
        load_images(DataSpec("mnist", tmp_path), "test")
    with pytest.raises(DataError, match="expected labels 0 to 9, got 11 at image 3"):
        read_mnist(tmp_path, "test", verify=False)


# ------------------------------------------------------------------------------------------------------ CIFAR


def _write_cifar(folder: Path, *, protocol: int = 2, **changed: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    batch = {"data": _COLOUR.reshape(6, -1), "labels": _LABELS.tolist(), "batch_label": "x", "filenames": ["a.png"] * 6}
    path = folder / "test_batch"
    path.write_bytes(pickle.dumps({**batch, **changed}, protocol))
    return path


@pytest.mark.parametrize("inner", ["cifar-10-batches-py", "."])
@pytest.mark.parametrize("protocol", range(6))
def test_cifar_batches_that_are_not_the_published_ones_are_read_as_plain_data(
    tmp_path: Path, inner: str, protocol: int
) -> None:
    _write_cifar(tmp_path / inner, protocol=protocol)
    found = load_images(DataSpec("cifar10", tmp_path), "test")
    _is_what_was_written(found, _COLOUR)
    assert not found.verified


def test_cifar100_reads_the_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    fine = [99, 0, 49, 1, 1, 7]
    batch = {"data": _COLOUR.reshape(6, -1), "fine_labels": fine, "coarse_labels": [0] * 6}
    (folder / "test").write_bytes(pickle.dumps(batch, 2))
    found = load_images(DataSpec("cifar100", tmp_path), "test")
    _is_what_was_written(found, _COLOUR, np.array(fine))
    assert found.classes[0] == "apple"
    assert found.classes[99] == "worm"
    assert list(found.classes) == sorted(set(found.classes))
    assert len(found.classes) == 100


class _Evil:
    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_cifar_pickle_is_refused_and_not_executed(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "executed"
    for evil in (_Evil(os.system, f"touch {trace}"), _Evil(eval, f"open({str(trace)!r}, 'w')")):
        _write_cifar(tmp_path, protocol=protocol, labels=[evil])
        with pytest.raises(DataError, match=r"refused: it names \w+\.(system|eval); nothing was executed"):
            load_images(DataSpec("cifar10", tmp_path), "test")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data": None}, "expected 'data' as uint8 .* got a NoneType"),
        ({"data": _COLOUR.reshape(6, -1)[:, :-1].copy()}, r"got uint8 \(6, 3071\)"),
        ({"data": _COLOUR.reshape(6, -1).astype(float)}, "got float64"),
        ({"data": np.array([{}])}, "refused"),
        ({"labels": [1, 2]}, "expected 6 integers under 'labels', got 2 values"),
        ({"labels": [1.0] * 6}, "expected 6 integers"),
        ({"labels": [10] * 6}, "expected labels 0 to 9, got 10"),
        ({"labels": [2**70] * 6}, "out of range"),
    ],
)
def test_cifar_structure(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    _write_cifar(tmp_path, **changed)
    with pytest.raises(DataError, match=said):
        load_images(DataSpec("cifar10", tmp_path), "test")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}", b"<html>", pickle.dumps([1, 2], 2)])
def test_cifar_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"truncated or damaged|refused|got a list"):
        load_images(DataSpec("cifar10", tmp_path), "test")


# ------------------------------------------------------------------------------------------------------- SVHN


@pytest.mark.parametrize("inner", ["svhn", "SVHN", "."])
def test_svhn(tmp_path: Path, inner: str) -> None:
    (tmp_path / inner).mkdir(exist_ok=True)
    digits = np.array([3, 10, 9, 1, 1, 7], dtype=np.uint8)
    savemat(tmp_path / inner / "extra_32x32.mat", {"X": _COLOUR.transpose(2, 3, 1, 0), "y": digits[:, None]})
    found = read_svhn(tmp_path, "extra", verify=False)
    _is_what_was_written(found, _COLOUR, np.array([3, 0, 9, 1, 1, 7]))
    with pytest.raises(DataError, match="expected md5 a93ce644f1a588dc4d68dda5feec44a7"):
        load_images(DataSpec("svhn", tmp_path), "extra")


def test_svhn_extra_is_the_training_images_and_then_the_others(tmp_path: Path) -> None:
    parts = {"train": _COLOUR[:2], "extra": _COLOUR[2:], "test": _COLOUR[:1]}
    for name, images in parts.items():
        labels = np.arange(1, len(images) + 1, dtype=np.uint8)[:, None]
        savemat(tmp_path / f"{name}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": labels})
    train, test = (read_svhn_extra(tmp_path, split, verify=False) for split in ("train", "test"))
    assert np.array_equal(train.images.numpy(), _COLOUR)
    assert train.labels.tolist() == [1, 2, 1, 2, 3, 4]
    assert (train.name, train.verified) == ("svhn-extra", False)
    assert np.array_equal(test.images.numpy(), _COLOUR[:1])
    with pytest.raises(DataError, match="expected md5"):
        load_images(DataSpec("svhn-extra", tmp_path), "train")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"X": _COLOUR.transpose(2, 3, 1, 0)}, "with X and y"),
        ({"X": _COLOUR, "y": _LABELS}, "expected X as uint8"),
        ({"X": _COLOUR.transpose(2, 3, 1, 0), "y": [1, 2]}, "expected y as 6 labels"),
        ({"X": _COLOUR.transpose(2, 3, 1, 0), "y": [0, 1, 2, 3, 4, 11]}, "expected y as 6 labels 1 to 10"),
    ],
)
def test_svhn_structure(tmp_path: Path, values: dict[str, object], said: str) -> None:
    savemat(tmp_path / "test_32x32.mat", values)
    with pytest.raises(DataError, match=said):
        read_svhn(tmp_path, "test", verify=False)


def test_svhn_that_is_no_matlab_file(tmp_path: Path) -> None:
    (tmp_path / "test_32x32.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(DataError, match="expected a MATLAB file"):
        read_svhn(tmp_path, "test", verify=False)


# -------------------------------------------------------------------------------------------- names and places


@pytest.mark.parametrize("name", [n for n, s in DATASETS.items() if s.needs_folder and not s.pictures])
def test_a_missing_file_is_named_with_every_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"there is no folder {tmp_path / 'nowhere'}"):
        load_images(parse_data(f"{name}:{tmp_path / 'nowhere'}"), "test")
    with pytest.raises(DataError) as caught:
        load_images(parse_data(f"{name}:{tmp_path}"), "test")
    file, inner = {
        "mnist": ("t10k-images-idx3-ubyte.gz or t10k-images-idx3-ubyte", ["MNIST/raw", "raw"]),
        "fashion-mnist": ("t10k-images-idx3-ubyte.gz or t10k-images-idx3-ubyte", ["FashionMNIST/raw", "raw"]),
        "cifar10": ("test_batch", ["cifar-10-batches-py"]),
        "cifar100": ("test", ["cifar-100-python"]),
        "svhn": ("test_32x32.mat", ["svhn", "SVHN"]),
        "svhn-extra": ("test_32x32.mat", ["svhn", "SVHN"]),
    }[name]
    places = ", ".join(str(place) for place in [*(tmp_path / i for i in inner), tmp_path])
    assert f"there is no {file} in {places};" in str(caught.value)


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py.tar.xz"])
def test_a_packed_archive_asks_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"packed")
    for folder in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=f"unpack it \\(tar -xf {name}\\)"):
            load_images(DataSpec("cifar10", folder), "test")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write_cifar(tmp_path)

    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=f"cannot read {path}: Permission denied"):
        load_images(DataSpec("cifar10", tmp_path), "test")


@pytest.mark.parametrize(
    ("text", "name", "folder"), [("digits", "digits", None), ("cifar10:some/folder", "cifar10", Path("some/folder"))]
)
def test_spec_text_and_back(text: str, name: str, folder: Path | None) -> None:
    assert parse_data(text) == DataSpec(name, folder)
    assert str(parse_data(text)) == text


def test_a_folder_may_contain_a_colon_and_a_home() -> None:
    assert parse_data("mnist:a:b").folder == Path("a:b")
    assert parse_data("mnist:~/data").folder == Path.home() / "data"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cifar:x", "unknown data set 'cifar'. Did you mean cifar10"),
        ("cifar10", "cifar10 needs the folder"),
        ("cifar10:", "cifar10 needs the folder"),
        ("digits:x", "takes no folder, got 'x'"),
    ],
)
def test_spec_errors(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_data(text)


def test_unknown_splits_and_names() -> None:
    with pytest.raises(OptionError, match=r"digits has no split 'tset'\. Did you mean test"):
        load_images(DataSpec("digits"), "tset")
    with pytest.raises(OptionError, match=r"unknown data set 'mnst'\. Did you mean mnist"):
        default_normalization("mnst")
    with pytest.raises(OptionError, match="needs the folder"):
        load_images(DataSpec("mnist"), "test")


@pytest.mark.parametrize("name", DATASETS)
def test_what_the_registry_says_fits_together(name: str) -> None:
    source = DATASETS[name]
    assert source.name == name
    assert len(source.normalization.mean) == source.channels
    assert source.splits[:2] == ("train", "test")
    assert len(set(source.classes)) == len(source.classes)


# -------------------------------------------------------------------------------------------- the real files


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_published_mnists(shared_folder: Path, name: str) -> None:
    train, test = (load_images(DataSpec(name, shared_folder / "data"), split) for split in ("train", "test"))
    assert train.verified
    assert (len(train), len(test)) == (60_000, 10_000)
    # Fashion-MNIST is balanced; MNIST's first labels are 5, 0, 4, 1, 9.
    counts = train.labels.bincount().tolist()
    assert counts == [6000] * 10 if name == "fashion-mnist" else train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    _has_the_stated_normalisation(train)


@pytest.mark.shared
def test_a_flipped_bit_in_a_published_file_is_found(shared_folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(shared_folder / "data" / "MNIST" / "raw", raw, copy_function=shutil.copyfile)
    raw.chmod(0o755)
    path = raw / "t10k-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="corrupt"):
        load_images(DataSpec("mnist", tmp_path), "test")


@pytest.mark.shared
def test_published_cifar10(cifar10_folder: Path) -> None:
    train, test = (load_images(DataSpec("cifar10", cifar10_folder), split) for split in ("train", "test"))
    assert train.verified
    assert test.verified
    assert train.labels.bincount().tolist() == [5000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    meta = pickle.loads((cifar10_folder / "cifar-10-batches-py" / "batches.meta").read_bytes())
    assert train.classes == tuple(meta["label_names"])
    _has_the_stated_normalisation(train)


def _has_the_stated_normalisation(train: ImageSet) -> None:
    stated = default_normalization(train.name)
    pixels = train.images.transpose(0, 1).flatten(1)
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel, mean, std in zip(pixels, stated.mean, stated.std, strict=True):
        shares = channel.bincount(minlength=256).double() / channel.numel()
        assert abs(float(shares @ values) - mean) < 5.1e-5
        assert abs(float((shares @ values**2 - (shares @ values) ** 2).sqrt()) - std) < 5.1e-5
