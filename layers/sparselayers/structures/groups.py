"""Groups of inputs: each output is connected to as many of every M after one another, as in 2:4."""

from __future__ import annotations

from itertools import pairwise

import torch

from sparselayers.connectivity import Connectivity

_AT_ONCE = 1 << 20  # connections that are compared at a time: memory beside them stays small


def of_every(m: int, connectivity: Connectivity) -> int:
    """Return N where each output is connected to N of every `m` inputs, N < m, else 0.

    Groups are counted from the first input; 1:2 is 2:4 as well. Found once, in O(nnz) time, and
    kept with the connections.
    """
    return connectivity.derive(("of every", m), lambda: _of_every(m, connectivity))


def _of_every(m: int, connectivity: Connectivity) -> int:
    (outputs, inputs), nnz = connectivity.shape, connectivity.nnz
    if connectivity.device.type == "meta" or not nnz or inputs % m:
        return 0
    groups = inputs // m
    n = nnz // (outputs * groups)
    if not 0 < n < m or nnz != n * outputs * groups:
        return 0
    if not bool((connectivity.row_ptr.diff() == n * groups).all()):
        return 0
    number = torch.arange(groups, device=connectivity.device)[:, None]
    rows = connectivity.col.view(outputs, groups, n)
    # What is random fails at the first rows.
    edges = [0, *range(min(8, outputs), outputs, max(1, _AT_ONCE // (n * groups))), outputs]
    for begin, end in pairwise(edges):
        if not bool((rows[begin:end].div(m, rounding_mode="floor") == number).all()):
            return 0
    return n
