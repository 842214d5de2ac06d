"""MKL's sparse product through sparse-dot-mkl: SciPy's matrices, no gradients.

The matrix is SciPy's, made beforehand with int32 indices; each call hands its arrays to MKL, which
copies nothing, and takes an input that lies row by row or feature by feature as it is. MKL is
Intel's own, beside the one within PyTorch; `pip install mkl` brings it to a folder where no loader
looks, which this file points to. It runs on Intel's OpenMP, which is told the number of threads.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparsebench.implementations.scipy_csr import matrix_of

_LIBRARY = "MKL_RT"  # where sparse-dot-mkl is told to look


class SparseDotMKL(Implementation):
    """`sparse_dot_mkl.dot_product_mkl` of a SciPy matrix, in inference alone."""

    name = "sparse_dot_mkl"
    operations = ("linear", "product")
    devices = ("cpu",)
    dtypes = ("float64", "float32")
    trains = False
    modules = ("scipy.sparse", "sparse_dot_mkl")
    install = "pip install scipy mkl sparse-dot-mkl"
    gflops = 15.0
    setup_s = 0.3

    def unavailable(self) -> str | None:
        """Say what is missing: the packages, or MKL itself."""
        if reason := super().unavailable():
            return reason
        if _LIBRARY in os.environ or _found() or find_spec("mkl"):
            return None
        return f"MKL not installed; install with: {self.install}"

    def load(self) -> None:
        """Import, with MKL where pip puts it."""
        if found := _found():
            os.environ.setdefault(_LIBRARY, str(found))
        super().load()

    def build(self, problem: Problem) -> nn.Module:
        """Keep the matrix and the bias."""
        return _Linear(problem)

    def product(self, problem: Problem) -> nn.Module:
        """Keep the matrix alone."""
        return _Product(problem)


class _Product(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._dot: Any = importlib.import_module("sparse_dot_mkl").dot_product_mkl
        threadpool_limits(torch.get_num_threads())
        self.matrix = matrix_of(problem, "csr_matrix")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.from_numpy(self._dot(self.matrix, x.t().numpy())).t()
        return y


class _Linear(_Product):
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bias


def _found() -> Path | None:
    """Return the library that `pip install mkl` brought, if it did."""
    return next(iter(sorted((Path(sys.prefix) / "lib").glob("libmkl_rt.so*"))), None)
