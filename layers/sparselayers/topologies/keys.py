"""Connections as integers: the key of the connection (row, col) is row · in + col.

In ascending order the keys of a layer are its connections in CSR order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, index_dtype
from sparselayers.fraction import check_sparsity


def number_of_connections(shape: tuple[int, int], sparsity: float) -> int:
    """Return round((1 − sparsity) · in · out) for a layer of `shape` (out, in).

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no connection at all.
    """
    check_sparsity(sparsity)
    nnz = round((1.0 - sparsity) * shape[1] * shape[0])
    if nnz == 0:
        raise ValueError(
            f"sparsity {sparsity} leaves no connection in a layer of shape {shape}: "
            f"it must be below {1.0 - 0.5 / (shape[0] * shape[1]):.6g}"
        )
    return nnz


def from_keys(keys: Tensor, shape: tuple[int, int]) -> Connectivity:
    """Make a Connectivity of ascending, distinct `keys` (nnz,), int64, which are overwritten."""
    dtype = index_dtype(shape, keys.numel())
    firsts = torch.arange(shape[0] + 1, device=keys.device) * shape[1]
    row_ptr = torch.searchsorted(keys, firsts).to(dtype)
    return Connectivity.adopt(shape, row_ptr, keys.remainder_(shape[1]).to(dtype))


def keys_of(connectivity: Connectivity) -> Tensor:
    """Return the ascending keys (nnz,), int64, of the connections."""
    return connectivity.row.long().mul_(connectivity.shape[1]).add_(connectivity.col)


def absent(ranks: Tensor, keys: Tensor) -> Tensor:
    """Return the keys of the absent connections number `ranks`, counted from 0 in key order.

    `keys` (nnz,) are the ascending keys of those that are there. Before the i-th of them,
    keys[i] − i are absent.
    """
    before = keys - torch.arange(keys.numel(), device=keys.device)
    return ranks + torch.searchsorted(before, ranks, right=True)


def contains(keys: Tensor, wanted: Tensor) -> Tensor:
    """Return for each of `wanted` whether it is one of the ascending `keys`."""
    if keys.numel() == 0:
        return torch.zeros_like(wanted, dtype=torch.bool)
    places = torch.searchsorted(keys, wanted).clamp_(max=keys.numel() - 1)
    return keys[places] == wanted
