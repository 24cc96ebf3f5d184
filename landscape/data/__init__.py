"""Image data sets by name: `DATASETS`, reading them from the user's files, and preparing them for a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from landscape.data import cifar, digits, idx, image_folder, svhn
from landscape.data.images import ImageSet, prepare
from landscape.data.normalization import Normalization
from landscape.data.pictures import PictureSet
from landscape.data.spec import DataSource, DataSpec, parse_spec
from landscape.data.subsets import choose_samples
from landscape.errors import OptionError, near

__all__ = [
    "DATASETS",
    "DataSource",
    "DataSpec",
    "ImageSet",
    "Normalization",
    "PictureSet",
    "choose_samples",
    "default_normalization",
    "load_images",
    "open_images",
    "parse_data",
    "prepare",
]

# Means and deviations are over all pixels of the training images, by channel: sqrt of the mean square less the squared
# mean. Those of the digits are ours, computed so; the others are the customary ones.
DATASETS: Mapping[str, DataSource] = MappingProxyType(
    {
        source.name: source
        for source in (
            DataSource(
                name="digits",
                read=lambda _folder, split: digits.read_digits(split),
                splits=digits.SPLITS,
                classes=digits.CLASSES,
                channels=1,
                size=digits.SIZE,
                needs_folder=False,
                normalization=Normalization((0.3058,), (0.3766,)),
                reference="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; in scikit-learn",
            ),
            DataSource(
                name="mnist",
                read=idx.read_mnist,
                splits=idx.SPLITS,
                classes=idx.MNIST.classes,
                channels=1,
                size=idx.SIZE,
                needs_folder=True,
                normalization=Normalization((0.1307,), (0.3081,)),
                reference="LeCun, Bottou, Bengio & Haffner 1998, Proc. IEEE 86(11)",
            ),
            DataSource(
                name="fashion-mnist",
                read=idx.read_fashion_mnist,
                splits=idx.SPLITS,
                classes=idx.FASHION_MNIST.classes,
                channels=1,
                size=idx.SIZE,
                needs_folder=True,
                normalization=Normalization((0.2860,), (0.3530,)),
                reference="Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
                mirrored=True,
            ),
            DataSource(
                name="cifar10",
                read=cifar.read_cifar10,
                splits=cifar.SPLITS,
                classes=cifar.CIFAR10.classes,
                channels=3,
                size=cifar.SIZE,
                needs_folder=True,
                normalization=Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
                reference="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
                mirrored=True,
            ),
            DataSource(
                name="cifar100",
                read=cifar.read_cifar100,
                splits=cifar.SPLITS,
                classes=cifar.CIFAR100.classes,
                channels=3,
                size=cifar.SIZE,
                needs_folder=True,
                normalization=Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
                reference="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
                mirrored=True,
            ),
            DataSource(
                name="svhn",
                read=svhn.read_svhn,
                splits=svhn.SPLITS,
                classes=svhn.CLASSES,
                channels=3,
                size=svhn.SIZE,
                needs_folder=True,
                normalization=Normalization((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
                reference="Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning",
            ),
            DataSource(
                name="svhn-extra",
                read=svhn.read_svhn_extra,
                splits=svhn.EXTENDED_SPLITS,
                classes=svhn.CLASSES,
                channels=3,
                size=svhn.SIZE,
                needs_folder=True,
                # Of the smaller training split: so both sets feed a network alike.
                normalization=Normalization((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
                reference="svhn with its extra images in the training split, as in Zagoruyko & Komodakis 2016",
            ),
            DataSource(
                name="imagenet",
                read=image_folder.read_image_folder,
                splits=image_folder.SPLITS,
                classes=(),
                channels=3,
                size=image_folder.SIZE,
                needs_folder=True,
                normalization=Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
                reference="Russakovsky et al. 2015, arXiv:1409.0575; or any folders of pictures laid out like it",
                mirrored=True,
                pictures=True,
            ),
        )
    }
)


def parse_data(text: str) -> DataSpec:
    """Parse `digits` or `NAME:FOLDER`.

    Raises:
        OptionError: the name is unknown (near ones are offered), or a folder is missing or superfluous.
    """
    return parse_spec(text, DATASETS)


def load_images(spec: DataSpec, split: str) -> ImageSet:
    """Read one split of a data set into memory, as uint8.

    Raises:
        OptionError: the set has no such split, its pictures are not kept in memory, or the name is unknown.
        DataError: a file is missing, corrupt or of another structure; says which and where it was looked for.
    """
    images = open_images(spec, split)
    if isinstance(images, PictureSet):
        raise OptionError(f"{spec.name} is not read into memory at once; choose among its pictures.")
    return images


def open_images(spec: DataSpec, split: str) -> ImageSet | PictureSet:
    """One split of a data set: in memory or, of pictures in files of their own, as the list of them.

    Raises:
        OptionError: the set has no such split, or the name is unknown.
        DataError: a file is missing, corrupt or of another structure; says which and where it was looked for.
    """
    source = _source(spec.name)
    if split not in source.splits:
        raise OptionError(f"{spec.name} has no split {split!r}.{near(split, source.splits)}")
    if source.needs_folder and spec.folder is None:
        raise OptionError(f"{spec.name} needs the folder that holds its files: {spec.name}:FOLDER.")
    return source.read(spec.folder or Path(), split)


def default_normalization(name: str) -> Normalization:
    """The means and deviations of the training images of the data set `name`.

    Raises:
        OptionError: the name is unknown; near ones are offered.
    """
    return _source(name).normalization


def _source(name: str) -> DataSource:
    if name not in DATASETS:
        raise OptionError(f"unknown data set {name!r}.{near(name, DATASETS)}")
    return DATASETS[name]
