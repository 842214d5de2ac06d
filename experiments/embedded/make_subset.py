"""Make the embedded MNIST subset: `python experiments/embedded/make_subset.py FOLDER`.

10,000 training and 2,000 test images of the complete MNIST below FOLDER, drawn at random and kept
in their order, so that a clone with neither network nor data still trains on real digits. (Not
every sixth image: even and odd places of MNIST come from different writers.)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sparsebench.training.datasets.digits import SUBSET, read_folder

TRAIN_IMAGES, TEST_IMAGES = 10_000, 2_000


def main(folder: Path) -> None:
    """Write the subset beside this script."""
    train_images, train_labels, test_images, test_labels = (
        array.numpy() for array in read_folder(folder, "MNIST")
    )
    generator = np.random.default_rng(0)
    train = np.sort(generator.choice(len(train_labels), TRAIN_IMAGES, replace=False))
    test = np.sort(generator.choice(len(test_labels), TEST_IMAGES, replace=False))
    np.savez_compressed(
        SUBSET,
        train_images=train_images[train],
        train_labels=train_labels[train],
        test_images=test_images[test],
        test_labels=test_labels[test],
    )
    print(f"{SUBSET}: {SUBSET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
