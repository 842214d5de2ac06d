"""MNIST and the sets of its shape, found, checked and decoded; a part of MNIST is embedded."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsebench import shipped, vision
from sparsebench.datafolders import places_to_look
from sparsebench.errors import InputError
from sparsebench.training.datasets.dataset import Dataset
from sparsebench.training.datasets.downloads import into_cache, left_over
from sparsebench.training.datasets.idx import read_idx

SUBSET = shipped.folder() / "embedded" / "mnist-subset.npz"
SUBSET_NAME = "mnist-subset"

# torchvision's sets of 28 × 28 images in ten classes that come as four IDX files.
DATASETS = ("MNIST", "FashionMNIST", "KMNIST")
SHAPE = (28 * 28,)

TRAIN_IMAGES, SUBSET_IMAGES = 60_000, 10_000  # to train on: of the sets, and embedded ones

FILES = {
    "train-images-idx3-ubyte": (TRAIN_IMAGES, 28, 28),
    "train-labels-idx1-ubyte": (TRAIN_IMAGES,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}

# Where packages of distributions put sets: dataset-fashion-mnist of Debian and Ubuntu.
DEBIAN = {"FashionMNIST": Path("/usr/share/datasets/fashion-mnist")}

MD5 = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
}

# Mean and standard deviation of MNIST's training pixels, as the tutorial normalises.
MEAN, DEVIATION = 0.1307, 0.3081


class Arrays(NamedTuple):
    """Images (n, 28, 28) and labels (n,) as unsigned bytes."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load(name: str, *, data_dir: Path | None = None, download: bool = True) -> Dataset:
    """Return one of DATASETS from where it is first found, or downloaded.

    MNIST is at last, unless it was to be in `data_dir`, the embedded subset with a note that says
    so. Raises ValueError for a damaged file, FileNotFoundError where there is none.
    """
    places = [(origin, place / name / "raw") for origin, place in places_to_look(data_dir)]
    if data_dir is None and name in DEBIAN:
        places.append(("Debian's package", DEBIAN[name]))
    for _, place in places:
        if place.is_dir() and not left_over(place, FILES):
            return _decoded(name.lower(), read_folder(place, name))
    looked = "; ".join(f"{origin}: {place}" for origin, place in places)
    if data_dir is not None:
        raise FileNotFoundError(f"no {name} found, looked in {looked}")
    try:
        if not download:
            raise OSError("downloading is switched off")
        return _decoded(name.lower(), _download(name))
    except (InputError, OSError, RuntimeError) as error:
        if name != "MNIST":
            raise FileNotFoundError(
                f"no {name} found, looked in {looked}; the download failed: {error}"
            ) from error
        note = (
            f"no MNIST found (looked in {looked}; the download failed: {error}), "
            f"so the embedded subset of 10,000 training and 2,000 test images is used: "
            f"its figures are not comparable with those of the full set"
        )
        return subset(note)


def read_folder(folder: Path, name: str) -> Arrays:
    """Return the four files of `name` in `folder`, each packed (.gz) or not."""
    arrays = []
    for file, shape in FILES.items():
        path, packed = folder / file, folder / f"{file}.gz"
        path = packed if packed.is_file() and not path.is_file() else path
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {name} needs {', '.join(FILES)}")
        array = read_idx(path, md5=MD5.get(name, {}).get(file))
        if tuple(array.shape) != shape:
            raise ValueError(f"{path} must hold an array {shape}, and holds {tuple(array.shape)}")
        arrays.append(array)
    return Arrays(*arrays)


def read_subset() -> Arrays:
    """Return the embedded digits: 10,000 for training, 2,000 for testing."""
    with np.load(SUBSET) as archive:
        return Arrays(*(torch.from_numpy(archive[name]) for name in Arrays._fields))


def subset(note: str = "") -> Dataset:
    """Return the embedded digits as a dataset that carries `note`."""
    return _decoded(SUBSET_NAME, read_subset(), note)


def _decoded(name: str, arrays: Arrays, note: str = "") -> Dataset:
    """Normalise the images and widen the labels, once."""

    def images(pixels: Tensor) -> Tensor:
        return pixels.flatten(1).float().div_(255).sub_(MEAN).div_(DEVIATION)

    return Dataset(
        name,
        images(arrays.train_images),
        arrays.train_labels.long(),
        images(arrays.test_images),
        arrays.test_labels.long(),
        note,
    )


def _download(name: str) -> Arrays:
    """Let torchvision fetch and unpack the set into the user's cache folder."""
    fetch = partial(getattr(vision.part("datasets"), name), download=True)
    return read_folder(into_cache(fetch, f"{name}/raw"), name)
