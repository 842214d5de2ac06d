"""Agreement: whether the dense gradient is that of the gradient which the optimizer was given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparselayers.dynamic.activity import Pair, Step
from sparselayers.layer import SparseLayer
from sparselayers.ranks import Ranks

_TOLERANCE = {torch.float16: 0.05, torch.bfloat16: 0.05}  # of the gradient's norm; others:
_OTHERS = 0.01


class Agreement:
    """Compare the dense gradient, where connections are, with `weights.grad`.

    Both may differ by one factor (scaled losses, clipping by norm, means over ranks) and by
    clipping by value, which change no choice; by 1% of the norm, or 5% in 16 bits; and by what
    rounding leaves of a sum whose terms cancel.
    """

    def __init__(self, layer: SparseLayer, keys: Tensor, step: Step, ranks: Ranks) -> None:
        self._layer, self._keys, self._step, self._ranks = layer, keys, step, ranks
        wide = torch.promote_types(layer.weights.dtype, torch.float32)
        self._dense = torch.zeros(keys.shape, dtype=wide, device=keys.device)
        self._seen = torch.zeros_like(keys, dtype=torch.bool)

    def see(self, rows: slice, block: Tensor) -> None:
        """Take note of some rows of the dense gradient, (rows, columns)."""
        columns = self._layer.shape[1]
        first = rows.start * columns
        bounds = self._keys.new_tensor([first, rows.stop * columns])
        start, stop = torch.searchsorted(self._keys, bounds).tolist()
        self._dense[start:stop] = block.reshape(-1)[self._keys[start:stop] - first]
        self._seen[start:stop] = True

    def see_at(self, values: Tensor) -> None:
        """Take note of the gradient where connections are, (nnz,)."""
        self._dense.copy_(values)
        self._seen.fill_(True)

    def difference(self) -> float:
        """Return by how many times what is allowed the two differ."""
        noise = self._noise()  # all ranks are asked, whatever they find
        gradient, dense = self._step.gradient, self._dense[self._seen]
        if gradient is None or not dense.numel():
            return 0.0
        given = gradient.to(dense.dtype)[self._seen]
        finite = given.isfinite()
        if not bool(dense[finite].isfinite().all()):
            return math.inf
        given, dense = given[finite], dense[finite]
        limit = given.abs().max() if given.numel() else given.sum()
        free = given.abs() < 0.999 * limit  # not clipped
        if not bool((dense * free).any()):
            free = torch.ones_like(free)
        products = dense[free] @ given[free], dense[free] @ dense[free]
        factor = float(products[0] / products[1]) if products[1] else 0.0
        norms = float(dense.norm()), float(given.norm())
        vanishing = self._vanishing() * math.sqrt(given.numel())
        if factor <= 0.0:  # one is 0, or nothing but noise
            larger, allowed = max(norms), noise + vanishing
            return larger / allowed if allowed else math.inf if larger else 0.0
        error = float((given - (factor * dense).clamp(-limit, limit)).norm())
        # Of noise alone no factor can be told.
        scale = max(factor, min(1.0, norms[1] / norms[0]))
        return error / (self._tolerance() * norms[1] + scale * noise + vanishing)

    def _types(self) -> set[torch.dtype]:
        """The types that the gradient was computed in."""
        return {self._layer.weights.dtype, *(dy.dtype for _, dy in self._step.pairs)}

    def _tolerance(self) -> float:
        types = self._types()
        if torch.float32 in types and torch.get_float32_matmul_precision() != "highest":
            types.add(torch.bfloat16)
        return max(_TOLERANCE.get(dtype, _OTHERS) for dtype in types)

    def _vanishing(self) -> float:
        """How small an entry is lost in the types that the gradient was computed in."""
        smallest = [torch.finfo(t).smallest_normal * torch.finfo(t).eps for t in self._types()]
        return max(smallest) * len(self._step.pairs)

    def _noise(self) -> float:
        """What the norm may be off by rounding the terms, however small their sum is."""
        layer = self._layer
        terms = [_squares(pair, layer.shape) for pair in self._step.pairs]
        total = self._ranks.sum(
            torch.stack(terms).sum() if terms else self._dense.new_zeros((), dtype=torch.float32)
        )
        wide = torch.finfo(self._dense.dtype).eps  # of sums, whose errors grow with their length
        rounding = 16 * wide + 4 * max(torch.finfo(dtype).eps for dtype in self._types())
        return rounding * math.sqrt(float(total) * (1 - layer.sparsity))


def _squares(pair: Pair, shape: tuple[int, int]) -> Tensor:
    """Σ ‖dy‖² · ‖x‖² over the samples of a pair: the squared norm of independent terms."""
    x, dy = pair
    if x.shape[-1] == shape[1] and dy.shape[-1] == shape[0] and x.shape[:-1] == dy.shape[:-1]:
        x, dy = x.reshape(-1, shape[1]), dy.reshape(-1, shape[0])
    else:  # images
        x, dy = (t.reshape(-1, *t.shape[-3:]).flatten(1) for t in (x, dy))
    return (x.float().square().sum(1) * dy.float().square().sum(1)).sum()
