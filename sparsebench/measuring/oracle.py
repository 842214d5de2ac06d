"""What output and gradients have to be, in float64, and how far from it an answer is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsebench.cases.problem import Problem

# The largest error relative to the largest entry; sums of 20,000 terms in the type stay below. Some
# five times what the records in results/reference have, which is 1e-5 in float32, 4e-3 in bfloat16.
# (TF32 rounds what is multiplied to float16's ten bits.)
# What has 8 bits is rounded to a 256th of the range of its numbers.
TOLERANCE = {
    "float64": 1e-10,
    "float32": 5e-5,
    "tf32": 1e-2,
    "float16": 1e-2,
    "bfloat16": 2e-2,
    "int8": 6e-2,
}

_BLOCK = 1 << 21  # numbers in the largest temporary: 16 MB in float64


def expected(problem: Problem) -> dict[str, Tensor]:
    """Return "output", and the gradients of "input", "values" and "bias", in float64.

    They are computed from the problem's own numbers, so that rounding these to a short type does
    not count as an error. Temporaries are bounded, whatever the size of the problem.
    """
    batch, nnz = problem.x.shape[0], problem.connectivity.nnz
    out_features, in_features = problem.connectivity.shape
    if problem.geometry is not None:
        way = _by_dense_convolution
    elif batch * nnz <= out_features * in_features:
        way = _by_connections
    else:
        way = _by_dense_blocks
    y, dx, dvalues = way(problem)
    dy = problem.dy.double()
    bias = problem.bias.double()
    return {
        "output": y + bias.view(-1, *(1 for _ in dy.shape[2:])),
        "input": dx,
        "values": dvalues,
        "bias": dy.sum((0, *range(2, dy.dim()))),
    }


def relative_error(actual: Tensor, exact: Tensor) -> float:
    """Return max |actual − exact| / max |exact|; infinite for another shape."""
    if actual.shape != exact.shape:
        return float("inf")
    largest = exact.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    return float((actual - exact).abs_().max() / largest)


def _by_connections(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Take the three products connection by connection: cheap where these are few."""
    row, col = problem.connectivity.row, problem.connectivity.col
    x, dy, values = problem.x.double(), problem.dy.double(), problem.values.double()
    y, dx, dvalues = torch.zeros_like(dy), torch.zeros_like(x), torch.zeros_like(values)
    for sample in range(x.shape[0]):
        x_ends, dy_ends = x[sample, col], dy[sample, row]
        dvalues.addcmul_(x_ends, dy_ends)
        y[sample].index_add_(0, row, x_ends.mul_(values))
        dx[sample].index_add_(0, col, dy_ends.mul_(values))
    return y, dx, dvalues


def _by_dense_blocks(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Take the three products as matmuls of dense blocks of rows."""
    row, col = problem.connectivity.row, problem.connectivity.col
    row_ptr = problem.connectivity.row_ptr.tolist()
    x, dy = problem.x.double(), problem.dy.double()
    y, dx = torch.zeros_like(dy), torch.zeros_like(x)
    dvalues = torch.zeros_like(problem.values, dtype=torch.float64)
    rows = max(1, _BLOCK // x.shape[1])
    for first in range(0, dy.shape[1], rows):
        last = min(first + rows, dy.shape[1])
        here = slice(row_ptr[first], row_ptr[last])
        place = (row[here] - first, col[here])
        weight = dx.new_zeros(last - first, x.shape[1])
        weight[place] = problem.values[here].double()
        y[:, first:last] = x @ weight.T
        dx += dy[:, first:last] @ weight
        dvalues[here] = (dy[:, first:last].T @ x)[place]
    return y, dx, dvalues


def _by_dense_convolution(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Take the three products as those of PyTorch's dense convolution, a few images at a time."""
    geometry = problem.geometry
    assert geometry is not None
    row, col = problem.connectivity.row, problem.connectivity.col
    x, dy = problem.x.double(), problem.dy.double()
    y, dx = torch.empty_like(dy), torch.empty_like(x)
    matrix = dx.new_zeros(problem.connectivity.shape)
    matrix[row, col] = problem.values.double()
    weight = matrix.view(len(matrix), -1, *geometry.kernel)
    window: Any = (geometry.stride, geometry.padding[::2], geometry.dilation)
    dweight = torch.zeros_like(weight)
    images = max(1, _BLOCK // (x[0].numel() + dy[0].numel()))
    for first in range(0, len(x), images):
        here = slice(first, first + images)
        y[here] = torch.ops.aten.conv2d(x[here], weight, None, *window, geometry.groups)
        dx[here], of_weight, _ = torch.ops.aten.convolution_backward(
            dy[here], x[here], weight, None, *window, False, (0, 0), geometry.groups,
            (True, True, False),
        )  # fmt: skip
        dweight += of_weight
    return y, dx, dweight.flatten(1)[row, col]
