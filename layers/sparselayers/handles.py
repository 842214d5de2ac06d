"""Handles: tensors that stand for a layer's connections where programs know tensors alone.

A compiled program calls the products with the arrays that a layer had when the call began. Whether
somebody has written to the layer's `row_ptr` or `col` since (see connections.py) it cannot know. So
the products get one more tensor, without content, that stands for the layer: by it they ask when
they run, and compute with what the layer is connected by now. Autograd saves it beside the other
arguments, and it counts as changed in place wherever the connections change: a gradient for others
than those of the forward pass is refused, of first layers too, whose weights nobody saves.

A tensor that is no layer's handle any more, or a copy of one, stands for nobody: the arrays beside
it are what is computed with.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.connectivity import of as connectivity_of

if TYPE_CHECKING:
    from sparselayers.connections import Connections

STALE = (
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation: the connections of a sparse layer have changed since its forward pass"
)

_owners: weakref.WeakValueDictionary[int, Connections] = weakref.WeakValueDictionary()


def handle_of(connections: Connections) -> Tensor:
    """Return a new tensor that stands for `connections`, on their device."""
    with torch.inference_mode(False):  # or it could not be saved for gradients
        handle = torch.zeros((), dtype=torch.uint8, device=connections.current.device)
    _owners[id(handle)] = connections
    return handle


def now(handle: Tensor | None, row_ptr: Tensor, col: Tensor, in_features: int) -> Connectivity:
    """Return what a forward pass computes with: the arrays, or what was written in their place.

    Raises what `Connections.get` does, and ValueError where the arrays are no connections.
    """
    owner = owner_of(handle)
    if owner is None:
        return connectivity_of(row_ptr, col, in_features)
    owner.lay_out()  # one program may serve several layers, and was compiled with one of them
    if not (owner.current.has(col) or owner.replaced is col):
        return connectivity_of(row_ptr, col, in_features)
    found = owner.get()
    if not found.has(col):
        owner.replaced = col
    return found


def then(handle: Tensor | None, row_ptr: Tensor, col: Tensor, in_features: int) -> Connectivity:
    """Return what the forward pass that got these arrays computed with, for its backward pass.

    Raises RuntimeError, as autograd does, where the layer is connected by others since.
    """
    owner = owner_of(handle)
    if owner is None:
        return connectivity_of(row_ptr, col, in_features)
    found = owner.get()
    if found.has(col) or owner.replaced is col:
        return found
    given = connectivity_of(row_ptr, col, in_features)
    if not found.equals(given):
        raise RuntimeError(STALE)
    return given


def owner_of(handle: Tensor | None) -> Connections | None:
    """Return what `handle` stands for, None where that is nobody."""
    found = None if handle is None else _owners.get(id(handle))
    return found if found is not None and found.handle is handle else None
