"""Bipartite receptive fields: each output sees inputs near its own place, and some that are far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.keys import from_keys, number_of_connections
from sparselayers.topologies.registry import drawn
from sparselayers.topologies.sampling import ascending, device_of, distinct_integers
from sparselayers.topologies.successive import successive_draws

Degrees = Literal["fixed", "uniform"]


@drawn
def receptive_fields(
    shape: tuple[int, int],
    sparsity: float = 0.9,
    *,
    randomness: float = 0.25,
    degrees: Degrees = "fixed",
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Connect each output to inputs drawn with chances ∝ (d + 1)^−(1 − r)/r, r = `randomness`.

    Inputs lie on a ring, outputs at even distances along it, and d is the distance on the ring. At
    r = 0 each output has the nearest inputs, at r = 1 any. The inputs of an output are drawn one
    after the other without replacement, so that its degree is exact: with degrees "fixed" they
    differ by at most 1, with "uniform" each output has one connection, and all others are given to
    outputs drawn uniformly. There are round((1 − sparsity) · in · out) connections.

    Costs O(nnz + out + in).

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no connection at all, for a
    randomness outside [0, 1] and unknown degrees, and for "uniform" with fewer connections than
    outputs.

    Source: Zhang et al. 2025 (BRF, arXiv 2501.19107); ring, "+ 1" and how degrees are drawn are
    those of the authors' code, which gives them to the neurons of the smaller side, outputs or
    inputs, and not always to outputs.
    """
    shape = check_shape(shape)
    nnz = number_of_connections(shape, sparsity)
    if not 0.0 <= randomness <= 1.0:
        raise ValueError(f"randomness must be in [0, 1], got {randomness}")
    if degrees not in get_args(Degrees):
        raise ValueError(f"degrees must be one of {', '.join(get_args(Degrees))}, got {degrees!r}")
    counts = _fixed(shape, nnz, generator) if degrees == "fixed" else _drawn(shape, nnz, generator)
    keys = [_keys(shape, *drawn) for drawn in _places(shape, counts, randomness, generator)]
    return from_keys(ascending(torch.cat(keys)), shape).to(device or "cpu")


def _fixed(shape: tuple[int, int], nnz: int, generator: torch.Generator | None) -> Tensor:
    """Degrees that differ by at most 1, (out,)."""
    each, rest = divmod(nnz, shape[0])
    counts = torch.full((shape[0],), each, device=device_of(generator))
    if rest:
        counts[distinct_integers(shape[0], rest, generator)] += 1
    return counts


def _drawn(shape: tuple[int, int], nnz: int, generator: torch.Generator | None) -> Tensor:
    """Degrees of one, and of what falls to each output of the rest, (out,)."""
    outputs, inputs = shape
    if nnz < outputs:
        raise ValueError(
            f"{nnz} connections cannot reach all {outputs} outputs: lower the sparsity to "
            f'{1.0 - 1.0 / inputs:.6g} or less, or use degrees="fixed"'
        )
    if inputs == 1:
        return torch.ones(outputs, dtype=torch.int64, device=device_of(generator))
    rest = distinct_integers(outputs * (inputs - 1), nnz - outputs, generator)
    return 1 + torch.bincount(rest // (inputs - 1), minlength=outputs)


def _places(
    shape: tuple[int, int], counts: Tensor, randomness: float, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield outputs, and the places among the inputs in the order of their distance."""
    if randomness == 0.0:
        outputs = torch.arange(shape[0], device=counts.device).repeat_interleave(counts)
        first = (counts.cumsum(0) - counts)[outputs]
        yield outputs, torch.arange(outputs.numel(), device=counts.device) - first
        return
    distances = (torch.arange(shape[1], device=counts.device) + 1) // 2
    weights = (1.0 + distances.double()) ** -((1.0 - randomness) / randomness)
    yield from successive_draws(weights, counts, generator)


def _keys(shape: tuple[int, int], outputs: Tensor, places: Tensor) -> Tensor:
    """Turn the places 0, 1, 2, 3, 4, … into the inputs at 0, +1, −1, +2, −2, … of each output."""
    centre = (2 * outputs + 1) * shape[1] // (2 * shape[0])
    offset = torch.where(places % 2 == 1, (places + 1) // 2, -(places // 2))
    return outputs * shape[1] + (centre + offset) % shape[1]
