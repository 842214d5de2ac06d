"""The largest of many scores that come block by block, in memory for a few times as many."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers import by_rows


class Best:
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
        better = by_rows.above(block, self._bar)
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
        scores, keys = self._scores[: self._used], self._keys[: self._used]
        if self._used > self._count:
            keep = torch.ones_like(scores, dtype=torch.bool)
            by_rows.drop_smallest(scores, keep, self._used - self._count)
            self._scores[: self._count], self._keys[: self._count] = scores[keep], keys[keep]
        self._used, self._bar = self._count, float(self._scores[: self._count].min())


class BestOfEach:
    """Of each group of `size` keys after one another the `counts` (groups,) largest scores."""

    def __init__(self, size: int, counts: Tensor) -> None:
        self._size, self._counts = size, counts
        self._keys: list[Tensor] = [counts.new_empty(0)]

    def add(self, block: Tensor, first: int) -> None:
        """Add the scores of whole groups (n,), whose keys count from `first`; −∞: may not grow."""
        scores = block.view(-1, self._size)
        start = first // self._size
        counts = self._counts[start : start + len(scores)]
        most = int(counts.max())
        places = scores.topk(most).indices
        places += torch.arange(len(scores), device=places.device)[:, None] * self._size + first
        wanted = torch.arange(most, device=counts.device) < counts[:, None]
        self._keys.append(places[wanted])

    def keys(self) -> Tensor:
        """Return the keys of the largest scores."""
        return torch.cat(self._keys)
