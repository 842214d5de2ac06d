"""Images and labels, found, checked and decoded once into memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
import torch
from torch import Tensor

from sparsebench import shipped
from sparsebench.training.idx import read_idx

SUBSET = shipped.folder() / "embedded" / "mnist-subset.npz"
SUBSET_NAME = "mnist-subset"

# torchvision's sets of 28 × 28 images in ten classes that come as four IDX files.
DATASETS = ("MNIST", "FashionMNIST", "KMNIST")
CIFAR10 = "CIFAR10"

FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}

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


@dataclass(frozen=True)
class Dataset:
    """Normalised images (n, 784) or (n, 3, 32, 32) in float32 and labels (n,) in int64.

    All are on one device. `name` is what records and tables call the data: "mnist", …,
    "mnist-subset", "cifar10", and "cifar10-first20k" where only so many images are there.
    `note` is empty, or says why other data than asked for are used.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    note: str = ""

    @property
    def complete(self) -> bool:
        """Whether figures from these data may stand beside published ones."""
        return "-" not in self.name

    def to(self, device: torch.device | str) -> Dataset:
        """Return the same data on `device`."""
        return Dataset(
            self.name,
            self.train_images.to(device),
            self.train_labels.to(device),
            self.test_images.to(device),
            self.test_labels.to(device),
            self.note,
        )

    def first(self, images: int) -> Dataset:
        """Return the data with the first `images` training images alone.

        Raises ValueError where there are not as many.
        """
        if not 0 < images <= len(self.train_labels):
            raise ValueError(
                f"images must be 1 to {len(self.train_labels)}, those of {self.name}; got {images}"
            )
        return replace(
            self, train_images=self.train_images[:images], train_labels=self.train_labels[:images]
        )

    def hold_out(self, images: int) -> Dataset:
        """Return the data with the last `images` training images in the place of the test set.

        Raises ValueError where that leaves nothing to train on.
        """
        count = len(self.train_labels)
        if not 0 < images < count:
            raise ValueError(f"validation must hold out 1 to {count - 1} images, got {images}")
        keep = count - images
        return Dataset(
            self.name,
            self.train_images[:keep],
            self.train_labels[:keep],
            self.train_images[keep:],
            self.train_labels[keep:],
            self.note,
        )


def load(dataset: str = "MNIST", *, data_dir: Path | None = None, download: bool = True) -> Dataset:
    """Return `dataset`, one of DATASETS, CIFAR10 or "mnist-subset", from where it is first found.

    Places: `data_dir` alone if it is given; else $SPARSEBENCH_DATA, ./data, the user's cache
    folder, a download into that; at last, for MNIST, the embedded subset, with a note that says so.
    Raises ValueError for an unknown name or a damaged file, FileNotFoundError where none is found.
    """
    if dataset.lower() == SUBSET_NAME:
        return _decoded(SUBSET_NAME, read_subset())
    if dataset.lower() == CIFAR10.lower():
        from sparsebench.training.cifar.data import load as load_cifar

        return load_cifar(places_to_look(data_dir), None if data_dir or not download else _cache())
    names = {name.lower(): name for name in DATASETS}
    if dataset.lower() not in names:
        allowed = ", ".join((*DATASETS, CIFAR10, SUBSET_NAME))
        raise ValueError(f"unknown dataset {dataset!r}: choose one of {allowed}")
    name = names[dataset.lower()]
    places = places_to_look(data_dir)
    for _, place in places:
        if (place / name / "raw").is_dir():
            return _decoded(name.lower(), read_folder(place, name))
    looked = "; ".join(f"{origin}: {place / name / 'raw'}" for origin, place in places)
    if data_dir is not None:
        raise FileNotFoundError(f"no {name} found, looked in {looked}")
    try:
        if not download:
            raise OSError("downloading is switched off")
        return _decoded(name.lower(), _download(name))
    except (OSError, RuntimeError) as error:
        if name != "MNIST":
            raise FileNotFoundError(
                f"no {name} found, looked in {looked}; the download failed: {error}"
            ) from error
        note = (
            f"no MNIST found (looked in {looked}; the download failed: {error}), "
            f"so the embedded subset of 10,000 training and 2,000 test images is used: "
            f"its figures are not comparable with those of the full set"
        )
        return _decoded(SUBSET_NAME, read_subset(), note)


def places_to_look(data_dir: Path | None = None) -> list[tuple[str, Path]]:
    """Return the data folders in the order they are tried, each with what names it."""
    if data_dir is not None:
        return [("--data-dir", data_dir)]
    places = [("./data", Path("data")), ("the user's cache", _cache())]
    if folder := os.environ.get("SPARSEBENCH_DATA"):
        places.insert(0, ("$SPARSEBENCH_DATA", Path(folder)))
    return places


def read_folder(folder: Path, name: str) -> Arrays:
    """Return the four files of `name` below `folder`, as torchvision lays them out."""
    arrays = []
    for file, shape in FILES.items():
        path = folder / name / "raw" / file
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


def _cache() -> Path:
    return platformdirs.user_cache_path("sparsebench") / "data"


def _download(name: str) -> Arrays:
    """Let torchvision fetch and unpack the set into the user's cache folder."""
    import torchvision  # here, since importing it takes half a second that most runs don't need

    with socket_timeout(20.0):
        getattr(torchvision.datasets, name)(root=str(_cache()), download=True)
    return read_folder(_cache(), name)


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Bound how long a silent server is waited for, which torchvision leaves open."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
