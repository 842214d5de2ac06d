"""JAX's matrices of compressed sparse rows, compiled by XLA, in inference.

The matrix is made beforehand. Input and output are handed over by DLPack, without a copy where JAX
takes the memory as it lies.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation


class JaxBCSR(Implementation):
    """`jax.experimental.sparse.BCSR @ x` under `jax.jit`."""

    name = "jax_bcsr"
    devices = ("cpu",)
    dtypes = ("float32",)
    trains = False
    modules = ("jax.experimental.sparse",)
    install = "pip install jax"
    gflops = 1.0
    setup_s = 1.0

    def build(self, problem: Problem) -> nn.Module:
        """Make the matrix, and compile the product for the problem's shape."""
        return _BCSR(problem)


class _BCSR(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        # Read when JAX makes its first array: as many threads as PyTorch is told to use.
        os.environ["NPROC"] = str(torch.get_num_threads())
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        self._jax: Any = importlib.import_module("jax")
        sparse: Any = importlib.import_module("jax.experimental.sparse")
        numpy = self._jax.numpy
        connectivity = problem.connectivity
        arrays = (problem.values, connectivity.col.int(), connectivity.row_ptr.int())
        matrix = sparse.BCSR(
            tuple(numpy.array(array.numpy()) for array in arrays),
            shape=connectivity.shape, indices_sorted=True, unique_indices=True,
        )  # fmt: skip
        bias = numpy.array(problem.bias.numpy())
        self._compiled = self._jax.jit(lambda m, b, x: (m @ x.T).T + b)
        self._given = matrix, bias
        self(problem.x)

    def forward(self, x: Tensor) -> Tensor:
        y = self._compiled(*self._given, self._jax.dlpack.from_dlpack(x.detach()))
        # The consumer waits for nothing on a CPU: the numbers have to be there.
        return torch.utils.dlpack.from_dlpack(y.block_until_ready())
