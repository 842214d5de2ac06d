"""N:M sparsity: of every M inputs after one another, each output is connected to N."""

from __future__ import annotations

import operator

import torch

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.keys import from_keys
from sparselayers.topologies.sampling import device_of, distinct_in_groups


def n_of_m(
    shape: tuple[int, int],
    n: int,
    m: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Connect each output to `n` of every `m` inputs after one another, drawn uniformly.

    The sparsity is 1 − n / m: 2:4 is half, 1:4 three quarters. Costs O(nnz) time and, with
    out · in / m groups, memory.

    Raises ValueError where n is not in 1 … m, or `in` no multiple of m.

    Source: Zhou et al. 2021, Learning N:M Fine-grained Structured Sparse Neural Networks From
    Scratch (arXiv 2102.04010), section 3.
    """
    shape = check_shape(shape)
    groups = number_of_groups(shape, n, m)
    sizes = torch.full((groups,), m, device=device_of(generator))
    keys = distinct_in_groups(sizes, torch.full_like(sizes, n), generator)
    return from_keys(keys, shape).to(device or "cpu")


def check_n_of_m(n: int, m: int) -> None:
    """Raise ValueError where `n` and `m` are no N:M."""
    try:
        few, many = operator.index(n), operator.index(m)
    except TypeError:
        few = many = 0
    if not 1 <= few <= many:
        raise ValueError(f"N:M needs integers 1 <= N <= M, got {n}:{m}")


def number_of_groups(shape: tuple[int, int], n: int, m: int) -> int:
    """Return how many groups of `m` inputs all outputs of a layer have together.

    Raises ValueError where n:m does not fit the layer, with what is allowed.
    """
    check_n_of_m(n, m)
    if shape[1] % m:
        allowed = [size for size in range(1, min(shape[1], 64) + 1) if shape[1] % size == 0]
        raise ValueError(
            f"{n}:{m} does not fit a layer of shape {shape}: its {shape[1]} inputs are no multiple "
            f"of M = {m}; M may be {', '.join(map(str, allowed))}"
        )
    return shape[0] * (shape[1] // m)
