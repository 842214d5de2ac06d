"""ResNet50's matrices of the Deep Learning Matrix Collection as the convolutions they are.

The files name their layer: `bottleneck_2_block_group3_1_1` is the second convolution of a block in
the third group of four, `…_block_group_projection_block_group3` stands for the group's first block.
The network is that of "The State of Sparsity in Deep Neural Networks" on images of 224 × 224; the
second convolution of a group's first block moves by 2, and so does its shortcut.

Columns are in the order of TensorFlow, (kernel, kernel, in). In the pruned 3×3 layers the density
of the nine blocks of columns tells: it is lowest at the corners of the window; by nines of columns
it is even.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

import sparselayers as sl
from sparsebench.cases.weights.matrix import Matrix

_FOLDER = "rn50"
_FIRST = "initial_conv"
_IMAGE, _IMAGES = 224, (56, 28, 14, 7)  # of the first layer, and of the four groups
_CONVOLUTION = re.compile(
    r"bottleneck_(?P<place>[123]|projection)_block_group(?P<first>_projection_block_group)?"
    r"(?P<group>[1-4])(_\d+)*"
)
_KERNELS = {"1": 1, "2": 3, "3": 1, "projection": 1}


class Window(NamedTuple):
    """How a convolution moves over its images, of `image` × `image` pixels; 0 where none are known.

    A tensor of weights tells nothing but the kernel.
    """

    kernel: int
    stride: int = 1
    image: int = 0


def window(name: str) -> Window | None:
    """Return the window of the layer in the file `name`; None for what is none of ResNet50's."""
    *folders, file = name.split("/")
    layer = file.removesuffix(".smtx")
    if _FOLDER not in folders or not file.endswith(".smtx"):
        return None
    if layer == _FIRST:
        return Window(7, 2, _IMAGE)
    found = _CONVOLUTION.fullmatch(layer)
    if found is None:
        return None
    group = int(found["group"]) - 1
    kernel, image, stride = _KERNELS[found["place"]], _IMAGES[group], 1
    if found["first"] and group and found["place"] != "3":
        image *= 2
        stride = 1 if found["place"] == "1" else 2
    return Window(kernel, stride, image)


def in_order(matrix: Matrix, kernel: int) -> Matrix:
    """Return `matrix` with its columns in PyTorch's order, (in, kernel, kernel); it has no values.

    In TensorFlow's column k · in + c is pixel k of channel c, in PyTorch's c · kernel² + k.
    """
    connectivity, pixels = matrix.connectivity, kernel**2
    channels = connectivity.shape[1] // pixels
    col = connectivity.col.long()
    moved = col % channels * pixels + col // channels
    edges: Tensor = torch.stack((connectivity.row.long(), moved))
    return Matrix(sl.from_edges(edges, connectivity.shape), kernel=kernel)
