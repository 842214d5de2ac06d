"""Which connections a layer gets, and where, from the arguments that it is made with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.topologies.given import from_edges, from_mask
from sparselayers.topologies.small_world import small_world as drawn_near
from sparselayers.topologies.uniform import random


class Choice(NamedTuple):
    """The connections, and the device of the layer: "meta" has no room for connections."""

    connectivity: Connectivity
    device: torch.device


def choose(
    shape: tuple[int, int],
    sparsity: float,
    connectivity: Connectivity | Tensor | None,
    *,
    small_world: bool = False,
    generator: torch.Generator | None,
    device: torch.device | str | None,
) -> Choice:
    """Return the connections that the arguments of a layer ask for.

    Raises ValueError where they fit no layer of `shape`, and what the topologies raise.
    """
    where = torch.get_default_device() if device is None else torch.device(device)
    if device is None and isinstance(connectivity, Connectivity | Tensor):
        where = connectivity.device if connectivity.device.type != "cpu" else where
    with torch.device("cpu"):  # the user's default device may well be "meta"
        if connectivity is None:
            topology = drawn_near if small_world else random
            made = topology(shape, sparsity, generator=generator)
        else:
            made = _given(shape, connectivity)
    return Choice(made if where.type == "meta" else made.to(where), where)


def _given(shape: tuple[int, int], connectivity: Connectivity | Tensor) -> Connectivity:
    if not isinstance(connectivity, Connectivity | Tensor):
        raise ValueError(
            "connectivity must be a Connectivity, an integer tensor (2, nnz) or a boolean mask "
            f"(out, in), got {type(connectivity).__name__}"
        )
    if isinstance(connectivity, Connectivity):
        if connectivity.shape != shape:
            raise ValueError(f"connectivity has shape {connectivity.shape}, the layer {shape}")
        return connectivity
    if connectivity.dtype != torch.bool:
        return from_edges(connectivity, shape)
    if connectivity.shape != shape:
        raise ValueError(f"mask has shape {tuple(connectivity.shape)}, the layer {shape}")
    return from_mask(connectivity)
