"""Constant fan-in: every output has the same number of connections."""

from __future__ import annotations

import torch

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.fraction import check_sparsity
from sparselayers.topologies.keys import from_keys
from sparselayers.topologies.sampling import device_of, distinct_in_groups


def constant_fan_in(
    shape: tuple[int, int],
    sparsity: float = 0.9,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Connect every output to round((1 − sparsity) · in) inputs, drawn uniformly for each.

    That is the nearest sparsity which the same number for all outputs meets. Costs O(nnz).

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no connection.

    Source: Lasby et al. 2023, Dynamic Sparse Training with Structured Sparsity (SRigL,
    arXiv 2305.02299), section 3.
    """
    shape = check_shape(shape)
    each = fan_in(shape, sparsity)
    sizes = torch.full((shape[0],), shape[1], device=device_of(generator))
    keys = distinct_in_groups(sizes, torch.full_like(sizes, each), generator)
    return from_keys(keys, shape).to(device or "cpu")


def fan_in(shape: tuple[int, int], sparsity: float) -> int:
    """Return how many connections of each output come closest to `sparsity`.

    Raises ValueError where `sparsity` is outside [0, 1) or leaves none.
    """
    check_sparsity(sparsity)
    each = round((1.0 - sparsity) * shape[1])
    if each == 0:
        raise ValueError(
            f"sparsity {sparsity} leaves the outputs of a layer of shape {shape} without a "
            f"connection: it must be below {1.0 - 0.5 / shape[1]:.6g}"
        )
    return each
