"""PyTorch's own CSR tensors: cuSPARSE on CUDA devices."""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.backends.base import Backend
from sparselayers.connectivity import Connectivity


class Csr(Backend):
    """What serves CUDA devices where Triton is missing.

    The 16-bit types are computed by way of float32: not all of cuSPARSE takes them.
    """

    name = "csr"

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve floating point types on CUDA devices; CPUs have better."""
        return device.type == "cuda" and dtype.is_floating_point

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` feature-major: the right-hand side of a product as it is taken."""
        del connectivity
        return x if x.t().is_contiguous() else x.t().contiguous().t()

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        wide = wide_type(values.dtype)
        weight = _matrix(
            connectivity.row_ptr, connectivity.col, values.to(wide), connectivity.shape
        )
        y = torch.mm(weight, x.t().to(wide))
        if bias is not None:
            y += bias.to(wide)[:, None]
        return y.t().to(values.dtype)

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ, which comes out feature by feature."""
        return self.forward(x, values, None, connectivity)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W, by the transposed connections."""
        wide, (rows, columns) = wide_type(values.dtype), connectivity.shape
        col_ptr, row, permutation = connectivity.transposed
        turned = values.index_select(0, permutation).to(wide)
        weight = _matrix(col_ptr, row, turned, (columns, rows))
        return torch.mm(weight, dy.t().to(wide)).t().to(values.dtype)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the product of both ends of every connection: a sampled dense product."""
        wide = wide_type(x.dtype)
        zeros = torch.zeros(connectivity.nnz, dtype=wide, device=x.device)
        places = _matrix(connectivity.row_ptr, connectivity.col, zeros, connectivity.shape)
        sampled: Tensor = torch.sparse.sampled_addmm(places, dy.t().to(wide), x.to(wide), beta=0.0)
        return sampled.values().to(x.dtype)


def _matrix(ptr: Tensor, index: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    _hear_out()
    return torch.sparse_csr_tensor(ptr, index, values, shape, check_invariants=False)


@cache
def _hear_out() -> None:
    """Let PyTorch say once that its CSR tensors are a beta, where nobody listens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zero = torch.zeros(1, dtype=torch.int64)
        torch.sparse_csr_tensor(torch.tensor([0, 1]), zero, torch.ones(1), (1, 1))
