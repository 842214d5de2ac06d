"""Small-world connections: many between near neurons, a few between far ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.coverage import cover_outputs
from sparselayers.topologies.keys import from_keys, number_of_connections
from sparselayers.topologies.registry import drawn
from sparselayers.topologies.sampling import (
    ascending,
    device_of,
    distinct_in_groups,
    distinct_integers,
)


@drawn
def small_world(
    shape: tuple[int, int],
    sparsity: float = 0.9,
    *,
    every_output: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Connect neurons at distance d with probability (d + 1)^−λ, which is 1 for neighbours.

    Inputs and outputs lie on a line with distance 1 between them, the smaller side centred
    against the larger. λ is such that round((1 − sparsity) · in · out) connections are expected;
    for each distance the number is drawn (binomial), then the places (uniform); a few connections
    are then removed or added at random to make the number exact. With `every_output`, connections
    are moved at random to outputs that have none, to inputs drawn from the same law.

    Costs O(nnz + out + in): pairs of the same distance are one diagonal of the weight matrix, and
    there are only out + in − 1 of those.

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no more than min(out, in)
    connections: so many neighbours are certain to be connected.

    Source: the bipartite scheme of the sparselinear package, whose distance law makes the
    clustered, short-cut networks of Watts and Strogatz (Nature 393, 1998); Song and Wang
    (Physical Review E 90, 062801, 2014) for small worlds by distance instead of rewiring.
    """
    shape = check_shape(shape)
    nnz = number_of_connections(shape, sparsity)
    if nnz <= min(shape):
        raise ValueError(
            f"sparsity {sparsity} leaves {nnz} connections in a layer of shape {shape}: "
            f"a small world needs more than min(out, in) = {min(shape)}, "
            f"a sparsity below {1.0 - 1.0 / max(shape):.6g}"
        )
    line = _Line.between(shape, device_of(generator))
    decay = decay_exponent(line.distances, line.pairs, nnz)
    counts = _exact(line, decay, nnz, generator)
    keys = line.keys(distinct_in_groups(line.pairs, counts, generator), counts)
    if every_output:
        keys = cover_outputs(
            keys, shape, lambda rows: line.inputs(rows, decay, generator), generator
        )
    return from_keys(keys, shape).to(device or "cpu")


def decay_exponent(distances: Tensor, pairs: Tensor, nnz: int) -> float:
    """Return the λ ≥ 0 for which Σ pairs · (distance + 1)^−λ = nnz.

    `distances` and `pairs` (n,): how many pairs of neurons there are at each distance. The
    logarithm of the sum is convex and falls with λ, so that Newton's method, from λ = 0 where all
    pairs are connected, climbs to the solution without ever passing it.
    """
    logs = torch.log1p(distances)
    decay = 0.0
    for _ in range(100):  # a dozen is usual; the limit only guards against a cycle of roundings
        terms = pairs * torch.exp(logs * -decay)
        expected = float(terms.sum())
        step = math.log(expected / nnz) * expected / float((terms * logs).sum())
        decay += step
        if step <= 1e-13 * (1.0 + decay):
            break
    return max(decay, 0.0)


@dataclass(frozen=True)
class _Line:
    """The diagonals of a matrix of `shape` (out, in): the pairs (i, i + offset) of neurons.

    i counts the smaller side, i + offset the larger, on which the smaller side is centred.
    """

    shape: tuple[int, int]
    offsets: Tensor
    pairs: Tensor
    distances: Tensor

    @classmethod
    def between(cls, shape: tuple[int, int], device: torch.device) -> _Line:
        small, large = min(shape), max(shape)
        offsets = torch.arange(1 - small, large, device=device)
        pairs = (large - offsets).clamp_(max=small) - (-offsets).clamp_(min=0)
        return cls(shape, offsets, pairs, (offsets.double() - (large - small) / 2).abs_())

    def keys(self, chosen: Tensor, counts: Tensor) -> Tensor:
        """Turn numbers of pairs, diagonal by diagonal and `counts` of each, into ascending keys."""
        firsts = self.pairs.cumsum(0) - self.pairs + self.offsets.clamp(max=0)
        near = chosen.sub_(firsts.repeat_interleave(counts, output_size=chosen.numel()))
        far = self.offsets.repeat_interleave(counts, output_size=chosen.numel()).add_(near)
        row, col = (near, far) if self.shape[0] <= self.shape[1] else (far, near)
        return ascending(row.mul_(self.shape[1]).add_(col))

    def inputs(self, rows: Tensor, decay: float, generator: torch.Generator | None) -> Tensor:
        """Draw an input for each of `rows`, with probability ∝ (distance + 1)^−decay."""
        out_features, in_features = self.shape
        # The diagonals of a row are consecutive: its inputs are a window of the running sum.
        sums = torch.cumsum((self.distances + 1.0) ** -decay, 0)
        sums = torch.cat((sums.new_zeros(1), sums))
        wide = out_features <= in_features
        first = (out_features - 1 - rows) if wide else rows
        low, high = sums[first], sums[first + in_features]
        uniform = torch.rand(rows.shape, generator=generator, device=rows.device, dtype=low.dtype)
        place = torch.searchsorted(sums, low + uniform * (high - low), right=True) - 1 - first
        place.clamp_(0, in_features - 1)
        return place if wide else in_features - 1 - place


def _exact(line: _Line, decay: float, nnz: int, generator: torch.Generator | None) -> Tensor:
    """Draw how many pairs of each diagonal are connected, `nnz` in all."""
    likely = (line.distances + 1.0) ** -decay
    counts = torch.binomial(line.pairs.double(), likely, generator=generator).long()
    surplus = int(counts.sum()) - nnz
    if surplus > 0:
        counts -= _histogram(distinct_integers(nnz + surplus, surplus, generator), counts)
    while surplus < 0:
        weights = (likely * (line.pairs - counts)).cumsum(0)
        places = torch.rand(
            -surplus, generator=generator, device=counts.device, dtype=torch.float64
        )
        places = torch.searchsorted(weights, places * weights[-1], right=True)
        more = torch.bincount(places.clamp_(max=counts.numel() - 1), minlength=counts.numel())
        more = torch.minimum(more, line.pairs - counts)
        counts += more
        surplus += int(more.sum())
    return counts


def _histogram(places: Tensor, counts: Tensor) -> Tensor:
    """Count how many of `places` fall in each of the consecutive stretches of length `counts`."""
    stretches = torch.searchsorted(counts.cumsum(0), places, right=True)
    return torch.bincount(stretches, minlength=counts.numel())
