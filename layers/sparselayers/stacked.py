"""Models that torch.func stacks: each member of such an ensemble has connections of its own.

`torch.func.stack_module_state` stacks parameters and buffers. Connections are neither, but the
buffer `topology_id` is stacked with them, and names those of every member.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import known
from sparselayers.tracing import Arrays

_functorch = torch._C._functorch


def is_stacked(mark: Tensor | None) -> bool:
    """Return whether `mark`, a buffer `topology_id`, is that of several layers under vmap."""
    return (
        mark is not None
        and torch._C._are_functorch_transforms_active()
        and _functorch.is_batchedtensor(mark)
    )


def arrays(mark: Tensor, shape: tuple[int, int]) -> Arrays:
    """Return the connections of all members, as vmap hands out what is stacked.

    Raises RuntimeError where the layers that were stacked are gone, with their connections.
    """
    members = [known(round(float(digest))) for digest in _functorch.get_unwrapped(mark)]
    found = [member for member in members if member is not None]
    if len(found) < len(members):
        raise RuntimeError(
            "the connections of stacked sparse layers are gone with the layers: keep the models "
            "that torch.func.stack_module_state was called with"
        )
    for member in found:
        member.lay_out()  # they are stacked in every call
    level = _functorch.maybe_get_level(mark)
    row_ptr, col = (
        _functorch._add_batch_dim(torch.stack(each), 0, level)
        for each in ([m.row_ptr for m in found], [m.col for m in found])
    )
    return Arrays(shape, row_ptr, col)
