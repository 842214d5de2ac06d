"""Connections that the user lists."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.keys import from_keys
from sparselayers.topologies.sampling import distinct


def from_edges(
    edges: Tensor, shape: tuple[int, int], *, device: torch.device | str | None = None
) -> Connectivity:
    """Connect what `edges` (2, nnz) lists: row 0 holds the outputs, row 1 the inputs, in any order.

    Duplicates are merged into one connection, with a warning that says how many.
    Raises TypeError for what is no tensor, and ValueError for another shape or type, for no edge
    at all and for an index outside `shape` = (out, in).
    """
    shape = check_shape(shape)
    if not isinstance(edges, Tensor):
        raise TypeError(f"connectivity must be a tensor (2, nnz), got {type(edges).__name__}")
    if edges.layout != torch.strided or edges.dim() != 2 or edges.shape[0] != 2:
        raise ValueError(
            f"connectivity must be a dense tensor of shape (2, nnz): outputs, then inputs; "
            f"got {_described(edges)}"
        )
    if edges.is_floating_point() or edges.is_complex() or edges.dtype == torch.bool:
        raise ValueError(f"connectivity must be of an integer type, got {_described(edges)}")
    if edges.shape[1] == 0:
        raise ValueError("connectivity is empty: a layer needs at least one connection")
    edges = edges.long()
    for row, (name, size) in enumerate(zip(("output", "input"), shape, strict=True)):
        outside = (edges[row] < 0) | (edges[row] >= size)
        if bool(outside.any()):
            place = int(outside.int().argmax())
            raise ValueError(
                f"connectivity[{row}, {place}] = {int(edges[row, place])}: "
                f"an {name} index must be in [0, {size})"
            )
    listed = edges.shape[1]
    keys = distinct(edges[0] * shape[1] + edges[1])
    if merged := listed - keys.numel():
        warnings.warn(
            f"connectivity lists {merged} of its {listed} connections more than once; "
            f"{keys.numel()} distinct ones are kept",
            stacklevel=2,
        )
    return from_keys(keys, shape).to(device or edges.device)


def from_mask(mask: Tensor, *, device: torch.device | str | None = None) -> Connectivity:
    """Connect where the boolean matrix `mask` (out, in) is True.

    Raises TypeError for what is no tensor, and ValueError for another shape or type and for a
    mask without any True.
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a boolean tensor (out, in), got {type(mask).__name__}")
    if mask.layout != torch.strided or mask.dim() != 2 or mask.dtype != torch.bool:
        raise ValueError(f"mask must be a dense boolean matrix (out, in), got {_described(mask)}")
    shape = check_shape((mask.shape[0], mask.shape[1]))
    keys = mask.flatten().nonzero().squeeze(1)
    if keys.numel() == 0:
        raise ValueError("mask is empty: a layer needs at least one connection")
    return from_keys(keys, shape).to(device or mask.device)


def _described(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else f", {tensor.layout}"
    return f"{tuple(tensor.shape)} of {tensor.dtype}{layout}"
