"""SparseProp (Nikdan et al. 2023, arXiv:2302.04852): AVX2 kernels, vectorised over the batch.

The layer is made from the dense weight, as its users do, and keeps int32 CSR indices. It computes
in float32 on x86 CPUs alone. Its transposes are fast where the batch and both widths are
multiples of 16, PyTorch's elsewhere. Indices pass through float32 when the layer is made, so that
more than 2^24 weights come out wrong: such cases are refused. The backward pass synchronises all
threads after every row. Always computes both gradients, whichever are needed. Its set-up looks for
pip and pybind11 in the environment, so that it does not compile in pip's build isolation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.case import Case
from sparsebench.implementations.base import DTYPE_BYTES, Implementation, gradient
from sparsebench.problem import Problem

_MOST_WEIGHTS = 2**24  # float32 holds every integer up to here


class SparseProp(Implementation):
    """`sparseprop.modules.SparseLinear`."""

    name = "sparseprop"
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
        """Refuse what the layer's indices cannot count."""
        if case.nnz > _MOST_WEIGHTS:
            return f"sparseprop's indices are wrong beyond 2^24 weights, this layer has {case.nnz}"
        return super().unsupported(case)

    def bytes_needed(self, case: Case) -> int:
        """Count the dense weight that the layer is made from, and SciPy's test of its zeros."""
        weights = case.in_features * case.out_features
        return super().bytes_needed(case) + weights * (DTYPE_BYTES[case.dtype] + 1)

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer of a weight of ones, so that none is taken for absent."""
        from sparseprop.modules import SparseLinear

        bias = nn.Parameter(problem.bias.clone())
        layer: nn.Module = SparseLinear(problem.connectivity.mask().float(), bias=bias)
        with torch.no_grad():
            layer.get_parameter("W_val").copy_(problem.values)
        return layer

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of what SparseProp calls `W_val`."""
        del problem
        return gradient(module, "W_val")
