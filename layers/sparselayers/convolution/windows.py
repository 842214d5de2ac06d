"""The products of a convolution as those of a linear layer over its windows.

Works wherever a linear backend does. The windows of a block of images are laid out as a matrix
(windows, channels · Π kernel), a block at a time so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.backends import Backend
from sparselayers.connectivity import Connectivity, index_dtype
from sparselayers.convolution.geometry import Geometry, Pair

# Numbers that the matrix of windows, or the products of a backend that keeps all of them, may have.
BLOCK = 2**24


def forward(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity,
    geometry: Geometry,
    backend: Backend,
) -> Tensor:
    """Return the convolution of `x` (N, channels, H, W), (N, out, H', W')."""
    whole = _over_all_channels(connectivity, geometry.groups)
    size = geometry.output_size(*x.shape[2:])
    y = x.new_empty(len(x), whole.shape[0], *size)
    padded, wide = _pad(x, geometry), wide_type(x.dtype)
    values, bias = values.to(wide), None if bias is None else bias.to(wide)
    for block in _blocks(len(x), size, whole):
        rows = backend.arrange(_windows(padded, block, geometry).to(wide), whole)
        block.of(y).copy_(block.images_of(backend.forward(rows, values, bias, whole)))
    return y


def grad_input(
    dy: Tensor,
    values: Tensor,
    connectivity: Connectivity,
    geometry: Geometry,
    image: Pair,
    backend: Backend,
) -> Tensor:
    """Return the gradient of an input (N, channels, *image), from dy (N, out, H', W')."""
    whole = _over_all_channels(connectivity, geometry.groups)
    top, bottom, left, right = geometry.padding
    channels = whole.shape[1] // (geometry.kernel[0] * geometry.kernel[1])
    wide = wide_type(dy.dtype)
    padded = (image[0] + top + bottom, image[1] + left + right)
    dx = dy.new_zeros(len(dy), channels, *padded, dtype=wide)
    values = values.to(wide)
    for block in _blocks(len(dy), (dy.shape[2], dy.shape[3]), whole):
        rows = block.rows_of(block.of(dy)).to(wide)
        d_windows = backend.backward(rows, None, values, whole, needs=(True, False, False)).input
        assert d_windows is not None
        part = block.window_rows(dx, geometry)
        part += F.fold(
            d_windows.view(part.shape[0], -1, d_windows.shape[1]).transpose(1, 2),
            (part.shape[2], part.shape[3]),
            geometry.kernel,
            geometry.dilation,
            stride=geometry.stride,
        )
    return dx[:, :, top : top + image[0], left : left + image[1]].to(dy.dtype).contiguous()


def grad_values(
    dy: Tensor, x: Tensor, connectivity: Connectivity, geometry: Geometry, backend: Backend
) -> Tensor:
    """Return the gradient of the values (nnz,)."""
    whole = _over_all_channels(connectivity, geometry.groups)
    padded, wide = _pad(x, geometry), wide_type(x.dtype)
    result = x.new_zeros(whole.nnz, dtype=wide)
    for block in _blocks(len(x), (dy.shape[2], dy.shape[3]), whole):
        rows = backend.arrange(_windows(padded, block, geometry).to(wide), whole)
        dy_rows = backend.arrange(block.rows_of(block.of(dy)).to(wide), whole)
        result += backend.grad_values(dy_rows, rows, whole)
    return result.to(x.dtype)


class _Block(NamedTuple):
    """Some images, and some of the rows of their outputs."""

    images: slice
    rows: slice
    width: int

    def of(self, y: Tensor) -> Tensor:
        """The block's part of an output (N, out, H', W')."""
        return y[self.images, :, self.rows]

    def rows_of(self, part: Tensor) -> Tensor:
        """A part of an output as a matrix (windows, out)."""
        return part.permute(0, 2, 3, 1).reshape(-1, part.shape[1])

    def images_of(self, matrix: Tensor) -> Tensor:
        """A matrix (windows, out) as a part of an output."""
        high = self.rows.stop - self.rows.start
        return matrix.view(-1, high, self.width, matrix.shape[1]).permute(0, 3, 1, 2)

    def window_rows(self, padded: Tensor, geometry: Geometry) -> Tensor:
        """The part of the padded input that the block's windows see."""
        first = self.rows.start * geometry.stride[0]
        last = (self.rows.stop - 1) * geometry.stride[0] + geometry.reach[0]
        used = (self.width - 1) * geometry.stride[1] + geometry.reach[1]
        return padded[self.images, :, first:last, :used]


def _blocks(images: int, size: Pair, connectivity: Connectivity) -> Iterator[_Block]:
    high, wide = size
    windows = max(1, BLOCK // max(connectivity.shape[1], connectivity.nnz))
    per_block = max(1, windows // (high * wide))
    rows = high if windows >= high * wide else max(1, windows // wide)
    for image in range(0, images, per_block):
        for row in range(0, high, rows):
            yield _Block(
                slice(image, min(image + per_block, images)),
                slice(row, min(row + rows, high)),
                wide,
            )


def _windows(padded: Tensor, block: _Block, geometry: Geometry) -> Tensor:
    part = block.window_rows(padded, geometry)
    unfolded = F.unfold(part, geometry.kernel, geometry.dilation, stride=geometry.stride)
    return unfolded.transpose(1, 2).reshape(-1, unfolded.shape[1])


def _pad(x: Tensor, geometry: Geometry) -> Tensor:
    top, bottom, left, right = geometry.padding
    return F.pad(x, (left, right, top, bottom)) if any(geometry.padding) else x


def _over_all_channels(connectivity: Connectivity, groups: int) -> Connectivity:
    """Return the connections to the windows of all channels, those of each group to its own."""
    if groups == 1:
        return connectivity

    def made() -> Connectivity:
        out, columns = connectivity.shape
        shape = out, columns * groups
        dtype = index_dtype(shape, connectivity.nnz)
        group = connectivity.row.long() // (out // groups)
        col = (connectivity.col + group * columns).to(dtype)
        return Connectivity.adopt(shape, connectivity.row_ptr.to(dtype), col)

    return connectivity.derive(("over all channels", groups), made)
