"""At least one connection for every output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparselayers.topologies.sampling import ascending, distinct_integers


def cover_outputs(
    keys: Tensor,
    shape: tuple[int, int],
    choose_inputs: Callable[[Tensor], Tensor],
    generator: torch.Generator | None,
) -> Tensor:
    """Move connections, drawn at random, from outputs with several to outputs with none.

    `keys` (nnz,) ascending, before and after; `choose_inputs` draws an input for each of the
    outputs that it is given. Only as many connections are moved as there are outputs without one.

    Raises ValueError where there are fewer connections than outputs.
    """
    if keys.numel() < shape[0]:
        raise ValueError(
            f"{keys.numel()} connections cannot reach all {shape[0]} outputs: "
            f"lower the sparsity to {1.0 - 1.0 / shape[1]:.6g} or less, or leave out every_output"
        )
    ends = torch.arange(1, shape[0] + 1, device=keys.device) * shape[1]
    degrees = torch.searchsorted(keys, ends).diff(prepend=ends.new_zeros(1))
    empty = (degrees == 0).nonzero().squeeze(1)
    if empty.numel() == 0:
        return keys
    # One connection of each output, drawn at random, stays; all others may be moved.
    inhabited = degrees > 0
    places = torch.rand(shape[0], generator=generator, device=keys.device, dtype=torch.float64)
    places = (places * degrees).long().clamp_(max=degrees - 1) + (degrees.cumsum(0) - degrees)
    movable = torch.ones_like(keys, dtype=torch.bool)
    movable[places[inhabited]] = False
    moved = distinct_integers(int(movable.sum()), empty.numel(), generator)
    stays = torch.ones_like(movable)
    stays[movable.nonzero().squeeze(1)[moved]] = False
    return ascending(torch.cat((keys[stays], empty * shape[1] + choose_inputs(empty))))
