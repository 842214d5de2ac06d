"""CIFAR-10, whole or its first batches alone, from the original Python files."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsebench import vision
from sparsebench.datafolders import places_to_look
from sparsebench.errors import InputError
from sparsebench.training.datasets.dataset import Dataset
from sparsebench.training.datasets.downloads import into_cache, left_over

CIFAR10 = "CIFAR10"
FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
WHOLE = 50_000, 10_000  # images for training and for testing
SHAPE = 3, 32, 32

# Of the training pixels in [0, 1], for red, green and blue.
MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2470, 0.2435, 0.2616)

# What the batches need: NumPy's arrays, under the module's old and new name.
_ALLOWED = {
    (f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}  # fmt: skip


def load(*, data_dir: Path | None = None, download: bool = True) -> Dataset:
    """Return CIFAR-10 from where it is first found, or downloaded unless it is in `data_dir`.

    The training batches may end after any of the five; `name` and `note` then say how many images
    there are. Raises FileNotFoundError where none is found or a file is missing, ValueError for a
    damaged one.
    """
    places = places_to_look(data_dir)
    for _, place in places:
        if (place / FOLDER).is_dir() and not left_over(place / FOLDER, (TRAINING[0], TEST)):
            return read_folder(place / FOLDER)
    looked = "; ".join(f"{origin}: {place / FOLDER}" for origin, place in places)
    if data_dir is not None or not download:
        raise FileNotFoundError(f"no {CIFAR10} found, looked in {looked}")
    try:
        fetch = partial(vision.part("datasets").CIFAR10, download=True)
        return read_folder(into_cache(fetch, FOLDER))
    except (InputError, OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"no {CIFAR10} found, looked in {looked}; the download failed: {error}"
        ) from error


def read_folder(folder: Path) -> Dataset:
    """Return the batches in `folder`: those of the training set up to the first missing one."""
    paths = []
    for name in TRAINING:
        if not (folder / name).is_file():
            break
        paths.append(folder / name)
    for path in (folder / TRAINING[0], folder / TEST):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: {CIFAR10} needs {TRAINING[0]} (and those after it that are "
                f"there) and {TEST}"
            )
    parts = [read_batch(path) for path in paths]
    test_images, test_labels = read_batch(folder / TEST)
    images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    found = len(labels), len(test_labels)
    name = "cifar10" if found == WHOLE else f"cifar10-first{_short(found[0])}"
    note = (
        ""
        if found == WHOLE
        else f"{found[0]:,} of the {WHOLE[0]:,} training images of CIFAR-10 and {found[1]:,} "
        f"of the {WHOLE[1]:,} test images: figures are not comparable with those of the full set"
    )
    return Dataset(name, _normalised(images), labels, _normalised(test_images), test_labels, note)


def read_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, 32, 32) as unsigned bytes and labels (n,) of one file.

    Nothing but arrays is unpickled. Raises ValueError for a file that is damaged, or no batch.
    """
    try:
        with path.open("rb") as file:
            content = _Arrays(file, encoding="latin1").load()
        pixels, labels = np.asarray(content["data"]), np.asarray(content["labels"])
    except OSError:
        raise
    except Exception as error:  # of many kinds, as the file is damaged here or there
        raise ValueError(f"{path} is no batch of CIFAR-10, or damaged: {error}") from error
    wanted = labels.size, int(np.prod(SHAPE))
    if pixels.dtype != np.uint8 or pixels.shape != wanted or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"{path} must hold one row of {wanted[1]} bytes for each of its {labels.size} labels, "
            f"and holds {pixels.dtype} {pixels.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path} must hold labels 0 to 9, and holds other ones")
    return torch.from_numpy(pixels.copy()).view(-1, *SHAPE), torch.from_numpy(labels).long()


class _Arrays(pickle.Unpickler):
    """Makes arrays, numbers and containers, and nothing that runs code."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _normalised(images: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, DEVIATION))
    return images.float().div_(255).sub_(mean).div_(deviation)


def _short(images: int) -> str:
    return f"{images // 1000}k" if images % 1000 == 0 else str(images)
