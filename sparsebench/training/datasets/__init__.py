"""Images with labels, and text: found, checked and decoded once into memory.

`dataset` is what all images become, `text` what text becomes; other files read one source each.
Uses nothing of `training`.
"""

from __future__ import annotations

from pathlib import Path

from sparsebench.training.datasets import cifar10, digits, python_stdlib, text
from sparsebench.training.datasets.cifar10 import CIFAR10
from sparsebench.training.datasets.dataset import Dataset
from sparsebench.training.datasets.digits import SUBSET_NAME
from sparsebench.training.datasets.text import Text

__all__ = [
    "CIFAR10",
    "NAMES",
    "SUBSET_NAME",
    "Data",
    "Dataset",
    "Text",
    "load",
    "shape_of",
    "training_images",
]

NAMES = (*digits.DATASETS, CIFAR10, SUBSET_NAME, python_stdlib.NAME)

Data = Dataset | Text


def load(dataset: str = "MNIST", *, data_dir: Path | None = None, download: bool = True) -> Data:
    """Return `dataset`, one of NAMES in whatever case, from where it is first found.

    Places: `data_dir` alone if it is given; else $SPARSEBENCH_DATA, ./data, the user's cache
    folder, that of Debian's package (Fashion-MNIST), a download into the cache; at last, for
    MNIST, the embedded subset, with a note that says so. Text is in the interpreter's own folder.
    Raises ValueError for an unknown name or a damaged file, FileNotFoundError where none is found.
    """
    names = {name.lower(): name for name in NAMES}
    if dataset.lower() not in names:
        raise ValueError(f"unknown dataset {dataset!r}: choose one of {', '.join(NAMES)}")
    name = names[dataset.lower()]
    if name == SUBSET_NAME:
        return digits.subset()
    if name == python_stdlib.NAME:
        return python_stdlib.load(data_dir)
    if name == CIFAR10:
        return cifar10.load(data_dir=data_dir, download=download)
    return digits.load(name, data_dir=data_dir, download=download)


def shape_of(dataset: str) -> tuple[int, ...]:
    """Return the shape of an image of one of NAMES, in whatever case, as networks take it."""
    if dataset.lower() == python_stdlib.NAME:
        return text.SHAPE
    return cifar10.SHAPE if dataset.lower() == CIFAR10.lower() else digits.SHAPE


def training_images(dataset: str) -> int | None:
    """Return how many images of 28 × 28 one of NAMES has to train on; None of other data."""
    if dataset.lower() == SUBSET_NAME:
        return digits.SUBSET_IMAGES
    known = dataset.lower() in {name.lower() for name in digits.DATASETS}
    return digits.TRAIN_IMAGES if known else None
