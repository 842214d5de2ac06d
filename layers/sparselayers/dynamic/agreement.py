"""Agreement: whether the dense gradient is that of the gradient which the optimizer was given."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.dynamic.activity import Pair, Step
from sparselayers.layer import SparseLayer
from sparselayers.ranks import Ranks

_TOLERANCE = {torch.float16: 0.05, torch.bfloat16: 0.05}  # of the gradient's norm; others:
_OTHERS = 0.01
# Connections that are compared at a time: on a CPU they stay in its caches.
_BLOCK, _CPU_BLOCK = 2**22, 2**16


class Agreement:
    """Compare the dense gradient, where connections are, with `weights.grad`.

    Both may differ by one factor (scaled losses, clipping by norm, means over ranks) and by
    clipping by value, which change no choice; by 1% of the norm, or 5% in 16 bits; and by what
    rounding leaves of a sum whose terms cancel.
    """

    def __init__(self, layer: SparseLayer, step: Step, ranks: Ranks) -> None:
        self._layer, self._step, self._ranks = layer, step, ranks
        self._wide = wide_type(layer.weights.dtype)
        self._connectivity = layer.connectivity
        self._dense: Tensor | None = None  # (nnz,), of the rows that were seen
        self._seen: Tensor | None = None  # (out,)

    def see(self, rows: slice, block: Tensor) -> None:
        """Take note of some rows of the dense gradient, (rows, columns)."""
        connectivity = self._connectivity
        if self._dense is None or self._seen is None:
            self._dense = torch.empty(
                connectivity.nnz, dtype=self._wide, device=connectivity.device
            )
            self._seen = torch.zeros(
                connectivity.shape[0], dtype=torch.bool, device=connectivity.device
            )
        connections, keys = connectivity.keys_of_rows(rows)
        self._dense[connections] = block.reshape(-1)[keys]
        self._seen[rows] = True

    def see_at(self, values: Tensor) -> None:
        """Take note of the gradient where connections are, (nnz,), which is kept."""
        self._dense = values.to(self._wide)
        self._seen = torch.ones(self._connectivity.shape[0], dtype=torch.bool, device=values.device)

    def forget(self) -> None:
        """Free what was noted."""
        self._dense = self._seen = None

    def difference(self) -> float:
        """Return by how many times what is allowed the two differ."""
        noise = self._noise()  # all ranks are asked, whatever they find
        found = limit = 0.0
        for dense, given in self._finite():
            if not math.isfinite(_largest(dense)):
                return math.inf
            found += given.numel()
            limit = max(limit, _largest(given))
        if not found:
            return 0.0
        sums = self._sums(limit)
        product, square = sums["free"] if sums["free"][1] else sums["all"]
        factor = product / square if square else 0.0
        norms = math.sqrt(sums["all"][1]), math.sqrt(sums["given"][1])
        vanishing = self._vanishing() * math.sqrt(found)
        if factor <= 0.0:  # one is 0, or nothing but noise
            larger, allowed = max(norms), noise + vanishing
            return larger / allowed if allowed else math.inf if larger else 0.0
        error = math.sqrt(
            sum(
                _square((factor * dense.double()).clamp_(-limit, limit).sub_(given))
                for dense, given in self._finite()
            )
        )
        # Of noise alone no factor can be told.
        scale = max(factor, min(1.0, norms[1] / norms[0]))
        return error / (self._tolerance() * norms[1] + scale * noise + vanishing)

    def _sums(self, limit: float) -> dict[str, tuple[float, float]]:
        """Return dense · given and dense · dense, of all and of those that were not clipped."""
        sums = {"all": (0.0, 0.0), "free": (0.0, 0.0), "given": (0.0, 0.0)}
        for some, others in self._finite():
            dense, given = some.double(), others.double()
            free = dense * (others.abs() < 0.999 * limit)
            of = {
                "all": (float(dense @ given), _square(dense)),
                "free": (float(free @ given), _square(free)),
                "given": (0.0, _square(given)),
            }
            sums = {name: (a + of[name][0], b + of[name][1]) for name, (a, b) in sums.items()}
        return sums

    def _finite(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield both gradients of those connections whose gradient is a number."""
        for dense, given in self._pieces():
            if math.isfinite(_largest(given)):
                yield dense, given
            else:
                finite = given.isfinite()
                yield dense[finite], given[finite]

    def _pieces(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield both gradients of the connections that were seen, so many at a time."""
        gradient = self._step.gradient
        if gradient is None or self._dense is None or self._seen is None:
            return
        seen = None if bool(self._seen.all()) else self._seen[self._connectivity.row.long()]
        block = _CPU_BLOCK if gradient.device.type == "cpu" else _BLOCK
        for start in range(0, gradient.numel(), block):
            some = slice(start, start + block)
            dense, given = self._dense[some], gradient[some].to(self._wide)
            yield (dense, given) if seen is None else (dense[seen[some]], given[seen[some]])

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
        layer, wide = self._layer, torch.finfo(self._wide).eps
        found = torch.zeros(3, dtype=torch.float32, device=layer.weights.device)
        for pair in self._step.pairs:
            found += _terms(pair, layer.shape)
        squares, sizes, terms = self._ranks.sum(found).tolist()
        # Each term is rounded by itself. As they are added up so are sums, which may be as large
        # as all terms of one sign where those of the other follow; this grows with the root of
        # their number (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis",
        # 2019), of which kernels add up many at a time.
        of_terms = 4 * max(torch.finfo(dtype).eps for dtype in self._types())
        of_sums = max(16.0, math.sqrt(terms) / 8) * wide
        noise = of_terms * math.sqrt(squares) + of_sums * sizes
        return float(noise * math.sqrt(1 - layer.sparsity))


def _square(numbers: Tensor) -> float:
    return float(numbers @ numbers)


def _largest(numbers: Tensor) -> float:
    """Return the largest magnitude; NaN where one is."""
    if not numbers.numel():
        return 0.0
    least, most = torch.aminmax(numbers)
    return float(torch.maximum(-least, most))


def _terms(pair: Pair, shape: tuple[int, int]) -> Tensor:
    """Σ ‖dy‖² · ‖x‖², Σ ‖dy‖ · ‖x‖ and how many there are, over the samples of a pair.

    The squared norm of independent terms, and how large the norm of sums may be on the way.
    """
    x, dy = pair
    if x.shape[-1] == shape[1] and dy.shape[-1] == shape[0] and x.shape[:-1] == dy.shape[:-1]:
        x, dy = x.reshape(-1, shape[1]), dy.reshape(-1, shape[0])
        number = len(dy)
    else:  # images
        x, dy = (t.reshape(-1, *t.shape[-3:]).flatten(1) for t in (x, dy))
        number = dy.numel() // shape[0]
    squares = x.float().square().sum(1) * dy.float().square().sum(1)
    return torch.stack((squares.sum(), squares.sqrt().sum(), squares.new_tensor(float(number))))
