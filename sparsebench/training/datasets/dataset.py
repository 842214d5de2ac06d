"""Dataset: images and labels in memory, on one device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


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

    @property
    def sizes(self) -> tuple[int, int]:
        """How many images there are to train on, and how many to test on."""
        return len(self.train_labels), len(self.test_labels)

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
