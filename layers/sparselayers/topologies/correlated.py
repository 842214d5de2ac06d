"""Connections between inputs that vary together, as the data say: pixels and their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.keys import from_keys, number_of_connections
from sparselayers.topologies.sampling import ascending

_BLOCK = 2**16  # correlations that exist at a time
_HEIGHT = 16  # rows of them at least: each block asks for all samples again
_SAMPLES = 256  # that are looked at together


def correlated(
    shape: tuple[int, int],
    sparsity: float = 0.9,
    *,
    samples: Tensor,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Connect output i to the inputs that correlate most with input i mod in, over `samples`.

    `samples` (n, in) are inputs of the layer. Of all pairs of an output and another input the
    round((1 − sparsity) · in · out) of largest |Pearson correlation| are connected; pairs with an
    input that never changes come last, and among equal ones the first. For the layer that sees the
    data; there is nothing random in it.

    Costs O(n · in²) time, and memory for a few times nnz.

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no connection at all, and for
    samples of another shape, fewer than two, or numbers that are not finite.

    Source: Zhang et al. 2024 (correlated sparse topological initialization, CSTI, of CHT,
    openreview iayEcORsGd), whose code takes all training images, repeats the pattern side by side
    where layers are wider, and keeps all that equal the last one.
    """
    shape = check_shape(shape)
    nnz = number_of_connections(shape, sparsity)
    outputs, inputs = shape
    if samples.dim() != 2 or samples.shape[1] != inputs or len(samples) < 2:
        raise ValueError(
            f"samples must be (n, {inputs}) with n of at least 2, got {tuple(samples.shape)}"
        )
    centred = _Centred(samples.detach())
    best = centred.mean.new_empty(0)
    keys = torch.empty(0, dtype=torch.int64, device=best.device)
    height = max(_HEIGHT, _BLOCK // inputs)
    for start in range(0, min(outputs, inputs), height):
        stop = min(start + height, outputs, inputs)
        features = torch.arange(start, stop, device=best.device)
        block = centred.correlations(slice(start, stop)).abs_()
        block[features - start, features] = -1.0  # with itself: last of all
        for first in range(0, outputs, inputs):
            rows = features[features + first < outputs]
            found = block[: rows.numel()].flatten()
            own = (rows + first)[:, None] * inputs + torch.arange(inputs, device=best.device)
            best, keys = torch.cat((best, found)), torch.cat((keys, own.flatten()))
            # Rounded, so that equal ones are: their order is that of the keys.
            order = torch.argsort(keys)
            order = order[
                torch.argsort(best[order].round(decimals=9), stable=True, descending=True)
            ]
            best, keys = best[order[:nnz]], keys[order[:nnz]]
    return from_keys(ascending(keys), shape).to(device or samples.device)


class _Centred:
    """Samples without their means, some at a time: copies of all in float64 would be large."""

    def __init__(self, samples: Tensor) -> None:
        self._parts = torch.split(samples, _SAMPLES)
        none = torch.zeros(samples.shape[1], dtype=torch.float64, device=samples.device)
        self.mean = none.clone()
        for part in self._parts:
            self.mean += part.double().sum(0)
        self.mean /= len(samples)
        if not bool(self.mean.isfinite().all()):
            raise ValueError("samples must be finite")
        squares = none
        for part in self._parts:
            squares += (part.double() - self.mean).square_().sum(0)
        norms = squares.sqrt_()
        self._scale = torch.where(norms > 1e-12 * norms.max(), norms.reciprocal(), 0.0)

    def correlations(self, features: slice) -> Tensor:
        """Return those of some features with all, (features, in)."""
        total = self.mean.new_zeros(features.stop - features.start, self.mean.numel())
        for part in self._parts:
            wide = part.double() - self.mean
            total.addmm_(wide[:, features].t(), wide)
        return total.mul_(self._scale).mul_(self._scale[features, None])
