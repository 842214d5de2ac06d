"""SparseProp (Nikdan et al. 2023, arXiv:2302.04852): AVX2 kernels, vectorised over the batch.

The layer is made from the dense weight, as its users do, and keeps int32 CSR indices. It computes
in float32 on x86 CPUs alone. Its transposes are fast where the batch and both widths are
multiples of 16, PyTorch's elsewhere. Indices pass through float32 when the layer is made, so that
more than 2^24 weights come out wrong: such cases are refused. The backward pass synchronises all
threads after every row. Always computes both gradients, whichever are needed. Its set-up looks for
pip and pybind11 in the environment, so that it does not compile in pip's build isolation.

Its convolution has two kernels. One runs over the batch, eight images at a time, for which every
call copies its images into the order (channel, row, column, image), and returns outputs and
gradients in that order. The other runs over the pixels of a row, in PyTorch's own order; with a
stride of 2 only its backward pass exists, and the forward pass is the first one's. Kernels are
square, strides 1 or 2, groups are not known. SparseProp itself times both and keeps the faster:
here each is an implementation of its own.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation, gradient

_MOST_WEIGHTS = 2**24  # float32 holds every integer up to here
_IMAGES = 8  # the kernel over the batch takes so many at once, and leaves out what remains
_MOST_OF_AN_OUTPUT = 2**15 - 1  # a convolution counts an output's weights in int16


class SparseProp(Implementation):
    """`sparseprop.modules.SparseLinear`; `SparseConv2d` with the kernel over the batch."""

    name = "sparseprop"
    operations: ClassVar[tuple[str, ...]] = ("linear", "conv2d")
    over_pixels: ClassVar[bool] = False
    devices = ("cpu",)
    dtypes = ("float32",)
    modules = ("scipy.sparse", "sparseprop.modules")
    install = (
        "pip install pybind11 setuptools wheel && "
        "pip install --no-build-isolation sparseprop==0.1.14"
    )
    gflops = 20.0
    setup_s = 0.3

    def unsupported(self, case: Case) -> str | None:
        """Refuse what the layer's indices cannot count, and windows that it does not know."""
        if case.stride > 2:
            return f"sparseprop knows strides 1 and 2, not {case.stride}"
        if case.groups > 1:
            return f"sparseprop knows no groups, this layer has {case.groups}"
        over_batch = not self.over_pixels or case.stride > 1
        if case.operation == "conv2d" and over_batch and case.batch % _IMAGES:
            return f"sparseprop's kernel over the batch needs a multiple of {_IMAGES} images"
        if case.operation == "conv2d" and case.columns > _MOST_OF_AN_OUTPUT:
            return (
                f"sparseprop's indices may be wrong beyond {_MOST_OF_AN_OUTPUT} weights an output"
            )
        if case.nnz > _MOST_WEIGHTS:
            return f"sparseprop's indices are wrong beyond 2^24 weights, this layer has {case.nnz}"
        return super().unsupported(case)

    def bytes_needed(self, case: Case) -> int:
        """Count the dense weight that the layer is made from, and SciPy's test of its zeros."""
        return super().bytes_needed(case) + case.weights * (DTYPE_BYTES[case.dtype] + 1)

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer of a weight of ones, so that none is taken for absent."""
        from sparseprop.modules import SparseConv2d, SparseLinear

        bias = nn.Parameter(problem.bias.clone())
        ones = problem.connectivity.mask().float()
        layer: nn.Module
        if geometry := problem.geometry:
            layer = SparseConv2d(
                ones.view(len(ones), -1, *geometry.kernel),
                bias=bias,
                padding=geometry.padding[0],
                stride=geometry.stride[0],
                vectorizing_over_on=self.over_pixels,
            )
        else:
            layer = SparseLinear(ones, bias=bias)
        with torch.no_grad():
            layer.get_parameter("W_val").copy_(problem.values)
        return layer

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of what SparseProp calls `W_val`."""
        del problem
        return gradient(module, "W_val")
