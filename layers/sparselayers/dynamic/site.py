"""Site: a layer as a rule for growing connections sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparselayers.dynamic.activity import Step
from sparselayers.dynamic.agreement import Agreement
from sparselayers.layer import SparseLayer
from sparselayers.ranks import Ranks
from sparselayers.topologies.keys import absent, contains, from_keys
from sparselayers.topologies.sampling import ascending, distinct_integers

# Small enough for the caches of a CPU, large enough to keep a GPU busy for a while.
_BLOCK = 2**21


@dataclass(frozen=True, eq=False)
class Site:
    """A layer in which connections are to grow, and what is known about it.

    Connections are named by their keys, row · columns + column of the layer's weight matrix, in
    ascending order, int64: `present` (nnz,) are those that the layer has, in the order of its
    weights, `kept` those of them that were not dropped, and `taken` those where none may grow.
    `earlier` are the steps before this one that a rule wants to see (`Rewirer.window`), the latest
    first. `generator` is in the same state on all ranks.
    """

    layer: SparseLayer
    present: Tensor
    kept: Tensor
    taken: Tensor
    step: Step
    agreement: Agreement
    ranks: Ranks
    generator: torch.Generator
    max_size: int
    earlier: tuple[Step, ...] = field(default=())

    @property
    def places(self) -> int:
        """How many connections there could be."""
        rows, columns = self.layer.shape
        return rows * columns

    @property
    def vacancies(self) -> int:
        """How many connections may grow."""
        return self.places - self.taken.numel()

    def gradient(self, rows: slice) -> Tensor:
        """Return those rows of the gradient of the dense weight, in float32 or better.

        It is what the loss gives, whatever is done to gradients later (clipping), summed over all
        ranks: they have to call this in the same order.
        """
        gradient = self.ranks.sum(self.step.dense_gradient(self.layer, rows))
        self.agreement.see(rows, gradient)
        return gradient

    def averaged_gradient(self, rows: slice, decay: float) -> Tensor:
        """Return those rows of Σ decay^k · (gradient k steps ago), over `earlier` and this step."""
        total = self.gradient(rows)
        for age, step in enumerate(self.earlier, start=1):
            total += decay**age * self.ranks.sum(step.dense_gradient(self.layer, rows))
        return total

    def gradient_at(self, keys: Tensor) -> Tensor:
        """Return the gradient of the dense weight at ascending `keys` (n,), in O(n) a sample.

        The gradient is computed at the connections too, where it can be compared with what the
        optimizer was given. Summed over ranks, as `gradient`.
        """
        where = ascending(torch.cat((keys, self.present)))
        connectivity = from_keys(where.clone(), self.layer.shape)
        values = self.ranks.sum(self.step.gradient_at(self.layer, connectivity))
        self.agreement.see_at(values[torch.searchsorted(where, self.present)])
        return values[torch.searchsorted(where, keys)]

    def anywhere(self, count: int, *, but: Tensor | None = None) -> Tensor:
        """Draw the keys of `count` connections that may grow, uniformly, none of them in `but`."""
        taken = self.taken if but is None else ascending(torch.cat((self.taken, but)))
        rows, columns = self.layer.shape
        ranks = distinct_integers(rows * columns - taken.numel(), count, self.generator)
        return absent(ranks.to(taken.device), taken)

    def best(self, candidates: Iterable[tuple[Tensor, Tensor]], count: int) -> Tensor:
        """Return the keys of the `count` candidates with the largest scores that may grow.

        `candidates` are blocks of keys and scores (n,), no key in two of them. Where there are
        fewer than `count`, the rest is drawn uniformly from all that may grow.
        """
        found: Tensor | None = None
        best = self.taken[:0]
        for keys, scores in candidates:
            free = ~contains(self.taken, keys)
            best = torch.cat((best, keys[free]))
            found = scores[free] if found is None else torch.cat((found, scores[free]))
            if found.numel() > count:
                found, places = found.topk(count, sorted=False)
                best = best[places]
        if missing := count - best.numel():
            best = torch.cat((best, self.anywhere(missing, but=best)))
        return best

    def own_generator(self) -> torch.Generator:
        """Return a generator that differs from rank to rank; all have to ask for it."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        return torch.Generator().manual_seed(seed + self.ranks.number)

    def uniform(self, size: int, device: torch.device) -> Tensor:
        """Draw `size` numbers in (0, 1), float64, the same on all ranks."""
        drawn = torch.rand(size, generator=self.generator, dtype=torch.float64)
        return drawn.clamp_(min=torch.finfo(torch.float64).tiny).to(device)

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
