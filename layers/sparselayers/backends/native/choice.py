"""Which way computes a product: chosen by shape, density, batch, type and machine, in one place.

Every way's time is estimated from what was measured on this machine (see calibration.py): a call,
each place of the weight and each connection cost it so much, and a batch between two that were
measured costs what lies between. The way of the least estimate is taken; for the backward pass
another one than for the forward pass where it gains clearly. Where connections are few, the lanes
are taken without an estimate, unless outputs share their inputs, and row blocks come into question,
or have N of every M of them, and the batch is small, or there is AMX: no machine is known on which
another way is faster there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch

from sparselayers.backends.native import amx, bits, calibration, library, row_blocks
from sparselayers.backends.native.calibration import Point, Way
from sparselayers.backends.native.few_bitmaps import is_few
from sparselayers.backends.native.n_of_m import NOfEight, NOfFour
from sparselayers.backends.native.probe import Product
from sparselayers.backends.plan import Choice
from sparselayers.connectivity import Connectivity

# Below this share of connections nothing but the lanes has been seen to be fastest: by type, for
# bfloat16 has units for dense products on some CPUs.
_FEW = {torch.float32: 0.15, torch.bfloat16: 0.05}

_SELECTING = NOfFour(), NOfEight()


def choose(product: Product, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Choice:
    """Return which way computes `product` of a batch, the same whenever it is asked for.

    Raises ValueError where an environment variable of the calibration or of the instruction set
    has a value that it does not know.
    """
    key = "way", product, batch, dtype, torch.get_num_threads()
    return connectivity.derive(key, _choose, product, batch, connectivity, dtype, at_most=_KEPT)


def choose_laid_out(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Way:
    """Return which way computes y where x is, and y is to be, laid out feature by feature.

    Estimates are for rows. What some ways have to turn round for that, the lanes need not.
    """
    key = "laid out", batch, dtype, torch.get_num_threads()
    return connectivity.derive(key, _choose_laid_out, batch, connectivity, dtype, at_most=_KEPT)


def _choose_laid_out(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Way:
    choice = choose("y", batch, connectivity, dtype)
    turned = _TURNING * batch * sum(connectivity.shape)

    def seconds(way: Way) -> float:
        return choice.seconds[way,] + calibration.WAYS[way].turned_by_product * turned

    return min((way for (way,) in choice.seconds), key=seconds, default=choice.way)


# Seconds that a number of x and of y takes to be laid out the other way: measured on an Intel Xeon.
_TURNING = 0.8e-9


_KEPT = 64  # choices of one layer: models that see batches of every size ask for many


def _choose(product: Product, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Choice:
    nnz = connectivity.nnz
    ways, reason = ways_in_question(batch, connectivity, dtype)
    if ways == ("lanes",):
        if dtype in _FEW and library.may_be_alone(batch, nnz, dtype):
            calibration.costs(dtype)  # which says for how many threads there is work enough
        return Choice(_both("lanes", product), reason, {})
    costs = calibration.costs(dtype)
    ways = tuple(way for way in costs.ways if way in ways)

    def seconds(way: Way, product: Product) -> float:
        return estimate(costs.points(way, product), batch, _places(way, connectivity), nnz)

    found = {_both(way, product): seconds(way, product) for way in ways}
    reason = f"the least estimate by costs {costs.source}"
    if product != "backward":
        return Choice(min(found, key=lambda ways: found[ways]), reason, found)
    parts: tuple[Product, Product] = "dx", "dweights"
    dx, dweights = (min(ways, key=partial(seconds, product=part)) for part in parts)
    if dx != dweights:
        found[dx, dweights] = seconds(dx, "dx") + seconds(dweights, "dweights")
    forward = choose("y", batch, connectivity, dtype).way
    handed_on = {both: _HANDED_ON * found[both] for both in found if both != (forward, forward)}
    worth = found | handed_on
    best = min(worth, key=lambda ways: worth[ways])
    if found[best] > min(found.values()):
        less = f"others gain less than {_HANDED_ON - 1:.0%}"
        reason = f"as the forward pass, for {less} by costs {costs.source}"
    return Choice(best, reason, found)


def _places(way: Way, connectivity: Connectivity) -> float:
    """Return the places of the weight that a way's time goes by, beside its connections."""
    if way == "lanes":
        return calibration.passing(connectivity.shape)
    # Elsewhere a place costs its share whether or not others near it are empty.
    if way == amx.Amx.name and row_blocks.serves(connectivity):
        return amx.places(connectivity)
    return math.prod(connectivity.shape)


# Another way than the forward pass's has to gain that much: it finds neither x as it takes it nor
# the weights where they lie in the caches of the cores. Two ways for two gradients as well.
_HANDED_ON = 1.15


def _both(way: Way, product: Product) -> tuple[Way, ...]:
    return (way, way) if product == "backward" else (way,)


def ways_in_question(
    batch: int, connectivity: Connectivity, dtype: torch.dtype
) -> tuple[tuple[Way, ...], str]:
    """Return the ways that come into question, and if those are the lanes alone, why."""
    outputs, inputs = connectivity.shape
    if dtype not in _FEW:
        return ("lanes",), f"the only way for {str(dtype).removeprefix('torch.')}"
    if not batch:
        return ("lanes",), "nothing to compute"
    tiles: tuple[Way, ...] = ()
    blocks = row_blocks.serves(connectivity)
    # For a few rows tiles gain where many are empty alone: bitmaps have a shorter way to go.
    if dtype == torch.bfloat16 and amx.usable() and (blocks or not is_few(batch)):
        tiles = (amx.Amx.name,) if bits.serves(connectivity) else ()
    structured: tuple[Way, ...] = ()
    if blocks:
        structured = ("row_blocks", *tiles)
    for way in _SELECTING:
        if way.serves(batch, connectivity):
            structured += (way.name,)
            break  # what is 2:4 is 4:8 as well
    share = connectivity.nnz / (outputs * inputs)
    if share <= _FEW[dtype]:
        return ("lanes", *tiles, *structured), f"few connections, {100 * share:.3g}% of all places"
    if not bits.serves(connectivity):
        return ("lanes", *structured), "the only way for layers as wide"
    return ("lanes", "bitmaps", "panels", *tiles, *structured), ""


def estimate(points: Sequence[Point], batch: int, places: float, nnz: int) -> float:
    """Return the estimated seconds of a batch: linear in places, connections, and the batch."""
    below = max((p for p in points if p.batch <= batch), default=points[0])
    above = min((p for p in points if p.batch >= batch), default=points[-1])
    low, high = (p.call + p.place * places + p.connection * nnz for p in (below, above))
    if below.batch < above.batch:
        return low + (high - low) * (batch - below.batch) / (above.batch - below.batch)
    return low * max(1.0, batch / below.batch)
