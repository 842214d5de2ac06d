"""Site: a layer as a rule for growing connections sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.dynamic.activity import Step
from sparselayers.dynamic.agreement import Agreement
from sparselayers.layer import SparseLayer
from sparselayers.ranks import Ranks

# Small enough for the caches of a CPU, large enough to keep a GPU busy for a while.
_BLOCK = 2**21


@dataclass(frozen=True, eq=False)
class Site:
    """A layer in which connections are to grow, and what is known about it.

    Connections are named by their keys, row · columns + column of the layer's weight matrix.
    `taken` (n,), int64, holds in ascending order the keys where none may grow. `generator` is in
    the same state on all ranks.
    """

    layer: SparseLayer
    taken: Tensor
    step: Step
    agreement: Agreement
    ranks: Ranks
    generator: torch.Generator
    max_size: int

    @property
    def vacancies(self) -> int:
        """How many connections may grow."""
        rows, columns = self.layer.shape
        return rows * columns - self.taken.numel()

    def gradient(self, rows: slice) -> Tensor:
        """Return those rows of the gradient of the dense weight, in float32 or better.

        It is what the loss gives, whatever is done to gradients later (clipping), summed over all
        ranks: they have to call this in the same order.
        """
        gradient = self.ranks.sum(self.step.dense_gradient(self.layer, rows))
        self.agreement.see(rows, gradient)
        return gradient

    def largest(self, score: Callable[[slice], Tensor], count: int) -> Tensor:
        """Return the keys of the `count` absent connections with the largest scores.

        `score` returns the scores of some rows, (rows, columns), and is called once for each
        block of rows. A NaN counts as larger than any number, as for `torch.topk`; among equal
        scores the choice is arbitrary, but the same every time.
        """
        columns = self.layer.shape[1]
        best: _Best | None = None
        for rows in self._blocks():
            first, last = rows.start * columns, rows.stop * columns
            block = score(rows).flatten()
            start, stop = torch.searchsorted(self.taken, self.taken.new_tensor([first, last]))
            block[self.taken[start:stop] - first] = -torch.inf
            best = best or _Best(count, block)
            best.add(block, first)
        assert best is not None
        return best.keys()

    def _blocks(self) -> Iterator[slice]:
        """Yield all rows in order, as many at a time as make a block."""
        rows, columns = self.layer.shape
        height = max(1, min(self.max_size, _BLOCK) // columns)
        for start in range(0, rows, height):
            yield slice(start, min(start + height, rows))


class _Best:
    """The `count` largest of all scores that are added, in memory for a few times as many.

    It is allocated once: to keep a little of every block would scatter the heap. What is kept is
    sifted only when there is no more room; the smallest score that remains is the bar for others.
    """

    def __init__(self, count: int, block: Tensor) -> None:
        self._count, self._used, self._bar = count, 0, -torch.inf
        self._scores = block.new_empty(2 * count + block.numel())
        self._keys = torch.empty_like(self._scores, dtype=torch.int64)

    def add(self, block: Tensor, first: int) -> None:
        """Add the scores of a block (n,), whose keys count from `first`; −∞ stands for none."""
        better = (~(block <= self._bar)).nonzero().squeeze(1)
        if self._used + better.numel() > self._scores.numel():
            self._sift()
            better = better[~(block[better] <= self._bar)]
        stop = self._used + better.numel()
        self._scores[self._used : stop] = block[better]
        self._keys[self._used : stop] = better.add_(first)
        self._used = stop
        if self._bar == -torch.inf and stop > self._count:
            self._sift()

    def keys(self) -> Tensor:
        """Return the keys (count,) of the largest scores."""
        self._sift()
        return self._keys[: self._used]

    def _sift(self) -> None:
        scores, places = self._scores[: self._used].topk(self._count, sorted=False)
        keys = self._keys[places]
        self._scores[: self._count], self._keys[: self._count] = scores, keys
        self._used, self._bar = self._count, float(scores.min())
