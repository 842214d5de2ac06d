"""Connections between inputs that vary together, as the data say: pixels and their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.keys import from_keys, number_of_connections
from sparselayers.topologies.sampling import ascending

_BLOCK = 2**21  # correlations that exist at a time


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
    wide = samples.detach().double()
    if not bool(wide.isfinite().all()):
        raise ValueError("samples must be finite")
    wide = wide - wide.mean(0)
    norms = wide.norm(dim=0)
    wide = torch.where(norms > 1e-12 * norms.max(), wide / norms, 0.0)
    best = wide.new_empty(0)
    keys = torch.empty(0, dtype=torch.int64, device=wide.device)
    height = max(1, _BLOCK // inputs)
    for start in range(0, min(outputs, inputs), height):
        features = torch.arange(start, min(start + height, outputs, inputs), device=wide.device)
        block = (wide[:, features].t() @ wide).abs_()
        block[features - start, features] = -1.0  # with itself: last of all
        for first in range(0, outputs, inputs):
            rows = features[features + first < outputs]
            found = block[: rows.numel()].flatten()
            own = (rows + first)[:, None] * inputs + torch.arange(inputs, device=wide.device)
            best, keys = torch.cat((best, found)), torch.cat((keys, own.flatten()))
            # Rounded, so that equal ones are: their order is that of the keys.
            order = torch.argsort(keys)
            order = order[
                torch.argsort(best[order].round(decimals=9), stable=True, descending=True)
            ]
            best, keys = best[order[:nnz]], keys[order[:nnz]]
    return from_keys(ascending(keys), shape).to(device or samples.device)
