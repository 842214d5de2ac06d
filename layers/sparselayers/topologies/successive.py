"""Weighted draws without replacement for many rows, in O(draws) however many there are to choose.

One after the other, in proportion to the weights of those that are left: the order in which
independent clocks ring whose rates are the weights. Of the likely ones every clock is drawn; of the
many unlikely ones only those that ring in time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from sparselayers.topologies.sampling import device_of

_BLOCK = 2**21  # clocks that run at a time
_LIKELY = (
    0.5  # a clock is drawn where it rings this often, on average, in the time that is looked at
)


def successive_draws(
    weights: Tensor, counts: Tensor, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and places (n,), `counts[r]` distinct places below n of each row r.

    `weights` (n,), float64, are positive and do not increase; `counts` (rows,) at most n.
    """
    most = int(counts.max())
    until = _time(weights, most)
    likely = weights.numel()
    if until < math.inf:
        likely = int((weights * until >= _LIKELY).sum())
    height = max(1, _BLOCK // max(likely, most, 1))
    for start in range(0, counts.numel(), height):
        rows, places = _race(weights, likely, until, counts[start : start + height], generator)
        yield rows + start, places


def _time(weights: Tensor, most: int) -> float:
    """Return by when rather more than `most` clocks ring; infinity where nearly all are needed."""
    wanted = most + 4.0 * math.sqrt(most) + 8.0
    if 4.0 * wanted >= weights.numel():
        return math.inf
    low, high = 0.0, 1.0 / float(weights[0])
    while float(-torch.expm1(-weights * high).sum()) < wanted:
        low, high = high, 2.0 * high
    for _ in range(30):
        middle = (low + high) / 2.0
        if float(-torch.expm1(-weights * middle).sum()) < wanted:
            low = middle
        else:
            high = middle
    return high


def _race(
    weights: Tensor,
    likely: int,
    until: float,
    counts: Tensor,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    rows, device = counts.numel(), device_of(generator)
    clocks = torch.empty(rows, likely, dtype=torch.float64, device=device)
    clocks.exponential_(generator=generator)
    clocks /= weights[:likely]
    row = torch.arange(rows, device=device).repeat_interleave(likely)
    place = torch.arange(likely, device=device).repeat(rows)
    time, before = clocks.flatten(), 0.0
    sums = weights[likely:].cumsum(0)
    while True:
        if sums.numel():
            more = _rings(sums, likely, rows, (before, until), generator)
            row, place, time = (
                torch.cat(two) for two in zip((row, place, time), more, strict=True)
            )
        order = torch.argsort(time, stable=True)
        order = order[time[order] < until]
        order = _first_of_each(order, row * weights.numel() + place)
        order = order[torch.argsort(row[order], stable=True)]
        found = torch.bincount(row[order], minlength=rows)
        if bool((found >= counts).all()):
            break
        before, until = until, 2.0 * until
    rank = torch.arange(order.numel(), device=device) - (found.cumsum(0) - found)[row[order]]
    order = order[rank < counts[row[order]]]
    return row[order], place[order]


def _rings(
    sums: Tensor,
    first: int,
    rows: int,
    between: tuple[float, float],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return who rings when of the unlikely clocks, those from `first` on, between two times."""
    length = between[1] - between[0]
    rate = torch.full((rows,), float(sums[-1]) * length, dtype=torch.float64, device=sums.device)
    row = torch.arange(rows, device=sums.device)
    row = row.repeat_interleave(torch.poisson(rate, generator=generator).long())
    shape = (2, row.numel())
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=sums.device)
    place = torch.searchsorted(sums, uniform[0] * sums[-1], right=True)
    return row, place.clamp_(max=sums.numel() - 1) + first, between[0] + uniform[1] * length


def _first_of_each(order: Tensor, keys: Tensor) -> Tensor:
    """Return `order` with the first place of each key alone: a clock may ring again."""
    found, group = torch.unique(keys[order], return_inverse=True)
    if found.numel() == order.numel():
        return order
    places = torch.arange(order.numel(), device=order.device)
    first = torch.full_like(found, order.numel()).scatter_reduce_(0, group, places, "amin")
    return order[first.sort().values]
