"""The SparseLinear package (PyPI, 0.0.5): a layer on top of `torch_sparse.spmm`.

The layer is made with the problem's edges as its `connectivity`; it sorts them once and keeps
them as int64. What it does in a step is what `torch_sparse_spmm` does, the bias added in place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation, gradient
from sparsebench.implementations.torch_sparse_spmm import INSTALL


class SparseLinearPackage(Implementation):
    """`sparselinear.SparseLinear` with its topology given and nothing dynamic."""

    name = "sparselinear"
    dtypes = ("float64", "float32")
    modules = ("sparselinear", "torch_scatter", "torch_sparse")
    install = f"pip install sparselinear==0.0.5 && {INSTALL}"
    gflops = 0.6
    setup_s = 0.4

    def bytes_needed(self, case: Case) -> int:
        """Count the (nnz, batch) intermediate results of `torch_sparse.spmm`."""
        return super().bytes_needed(case) + 4 * case.nnz * case.batch * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer of the problem's edges, which are in the order it keeps them in."""
        from sparselinear import SparseLinear

        connectivity = problem.connectivity
        out_features, in_features = connectivity.shape
        edges = torch.stack((connectivity.row, connectivity.col)).long()
        layer: nn.Module = SparseLinear(in_features, out_features, connectivity=edges)
        layer.to(problem.values)
        with torch.no_grad():
            layer.get_parameter("weights").copy_(problem.values)
            layer.get_parameter("bias").copy_(problem.bias)
        return layer

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of what the package calls `weights`."""
        del problem
        return gradient(module, "weights")
