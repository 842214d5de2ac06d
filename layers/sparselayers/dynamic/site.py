"""Site: a layer as a rule for growing connections sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from sparselayers import by_rows
from sparselayers.connectivity import Connectivity
from sparselayers.dynamic.activity import Step
from sparselayers.dynamic.agreement import Agreement
from sparselayers.dynamic.best import Best, BestOfEach
from sparselayers.layer import SparseLayer
from sparselayers.ranks import Ranks
from sparselayers.structures import Structure, Unstructured
from sparselayers.topologies.keys import absent, contains, from_keys, keys_of
from sparselayers.topologies.sampling import ascending, distinct_in_groups, distinct_integers

# Places that are looked at together: a GPU is busy with them for a while; those of a CPU fit into
# its caches. (2048², 90%, batch 128: a rewiring by RigL takes a fifth less CPU time than with 2^21,
# and 39 MB at its peak in place of 105.)
_BLOCK, _CPU_BLOCK = 2**21, 2**18


@dataclass(frozen=True, eq=False)
class Site:
    """A layer in which connections are to grow, and what is known about it.

    Connections are named by their keys, row · columns + column of the layer's weight matrix, in
    ascending order, int64: `present` (nnz,) are those that the layer has, in the order of its
    weights, `kept` those of them that were not dropped, and `taken` those where none may grow. With
    a `structure` these are its units, such as blocks, in the place of connections, and the rows and
    columns those of its grid. Keys are made when they are asked for: eight bytes a connection,
    which rules for the largest layers do without.

    `keep` (nnz,) says which were not dropped, and `regrows` whether the others may grow again.

    `earlier` are the steps before this one that a rule wants to see (`Rewirer.window`), the latest
    first. `generator` is in the same state on all ranks.
    """

    layer: SparseLayer
    step: Step
    agreement: Agreement
    ranks: Ranks
    generator: torch.Generator
    max_size: int
    earlier: tuple[Step, ...] = field(default=())
    structure: Structure = field(default=Unstructured())
    keep: Tensor | None = field(default=None)  # None: nothing was dropped
    regrows: bool = field(default=False)

    @cached_property
    def present(self) -> Tensor:
        """The keys of the connections, or units, that the layer has."""
        return self.structure.units(self.layer.connectivity)

    @cached_property
    def kept(self) -> Tensor:
        """The keys of those that were not dropped."""
        return self.present if self.keep is None else self.present[self.keep]

    @property
    def taken(self) -> Tensor:
        """The keys of those where none may grow."""
        return self.kept if self.regrows else self.present

    @cached_property
    def number(self) -> int:
        """How many connections, or units, the layer has."""
        if self.structure == Unstructured():
            return self.layer.connectivity.nnz
        return self.present.numel()

    @property
    def by_rows(self) -> bool:
        """Whether its connections can be worked on row by row, without keys."""
        return self.structure == Unstructured() and by_rows.serves(self.layer.connectivity)

    def without_dropped(self, keep: Tensor, *, regrows: bool) -> Site:
        """Return the site with only those connections kept for which `keep` (nnz,) is True."""
        site = replace(self, keep=keep.contiguous(), regrows=regrows)  # kernels know its address
        if "present" in self.__dict__:  # what was made is made once
            site.__dict__["present"] = self.present
        return site

    @property
    def nothing(self) -> Tensor:
        """The keys of no connection."""
        return torch.empty(0, dtype=torch.int64, device=self.layer.connectivity.device)

    def with_grown(self, grown: Tensor | Connectivity) -> Connectivity:
        """Return the connections of the layer with what was kept and has grown.

        Raises ValueError where there is a connection already.
        """
        shape = self.layer.shape
        if self.by_rows:
            if isinstance(grown, Tensor):
                grown = from_keys(ascending(grown.clone()), shape)
            return by_rows.merged(self.layer.connectivity, self.keep, grown)
        keys = keys_of(grown) if isinstance(grown, Connectivity) else grown
        units = ascending(torch.cat((self.kept, keys)))
        return from_keys(self.structure.keys(units, shape), shape)

    @property
    def places(self) -> int:
        """How many connections, or units, there could be."""
        rows, columns = self.structure.grid(self.layer.shape)
        return rows * columns

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

    def see_gradient(self) -> None:
        """Compute the gradient at the connections, to be compared with what the optimizer got."""
        layer = self.layer
        self.agreement.see_at(self.ranks.sum(self.step.gradient_at(layer, layer.connectivity)))

    def filled_up(self, grown: Connectivity, missing: int) -> Connectivity:
        """Return `grown` with as many more, drawn anywhere as `anywhere` does."""
        taken = by_rows.merged(self.layer.connectivity, self.keep if self.regrows else None, grown)
        more = by_rows.scattered(taken, None, missing, self.generator)
        return by_rows.merged(grown, None, more)

    def anywhere(self, count: int, *, but: Tensor | None = None) -> Tensor:
        """Draw the keys of `count` connections that may grow, uniformly, none of them in `but`.

        With a structure that has groups, each gets as many as it lost.
        """
        if but is None and self.by_rows:
            return keys_of(self._scattered(count))
        taken = self.taken if but is None else ascending(torch.cat((self.taken, but)))
        if (size := self._group()) is None:
            ranks = distinct_integers(self.places - taken.numel(), count, self.generator)
        else:
            free = size - self._per_group(taken, size)
            ranks = distinct_in_groups(free.cpu(), self._missing(size).cpu(), self.generator)
        return absent(ranks.to(taken.device), taken)

    def scattered(self, count: int) -> Tensor | Connectivity:
        """Draw what `anywhere` draws, as connections where that takes less memory."""
        return self._scattered(count) if self.by_rows else self.anywhere(count)

    def best(self, candidates: Iterable[tuple[Tensor, Tensor]], count: int) -> Tensor:
        """Return the keys of the `count` candidates with the largest scores that may grow.

        `candidates` are blocks of keys and scores (n,), no key in two of them. Where there are
        fewer than `count`, the rest is drawn uniformly from all that may grow.
        """
        found: Tensor | None = None
        best = self.nothing
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

        `score` returns the scores of some rows, (rows, columns) of the layer, and is called once
        for each block of rows. A NaN counts as larger than any number, as for `torch.topk`; among
        equal scores the choice is arbitrary, but the same every time. With a structure a block has
        the sum of its scores, and each group gets the largest of its own, as many as it lost.
        """
        columns, size = self.structure.grid(self.layer.shape)[1], self._group()
        best: Best | BestOfEach | None = None
        for rows in self._blocks():
            first, last = (edge // self._height * columns for edge in (rows.start, rows.stop))
            block = self.structure.pooled(score(rows)).flatten()
            block[self._taken_between(rows, first, last)] = -torch.inf
            if best is None:
                best = Best(count, block) if size is None else BestOfEach(size, self._missing(size))
            best.add(block, first)
        assert best is not None
        return best.keys()

    def _scattered(self, count: int) -> Connectivity:
        taken = self.layer.connectivity
        return by_rows.scattered(taken, self.keep if self.regrows else None, count, self.generator)

    def _taken_between(self, rows: slice, first: int, last: int) -> Tensor:
        """Return the keys that are taken of some rows, those from `first` to `last`, from there."""
        if self.structure != Unstructured():
            start, stop = torch.searchsorted(self.taken, self.taken.new_tensor([first, last]))
            return self.taken[start:stop] - first
        connections, keys = self.layer.connectivity.keys_of_rows(rows)
        if self.regrows and self.keep is not None:
            keys = keys[self.keep[connections]]
        return keys

    @property
    def _height(self) -> int:
        """The outputs of a unit."""
        return self.layer.shape[0] // self.structure.grid(self.layer.shape)[0]

    def _group(self) -> int | None:
        return self.structure.group(self.layer.shape)

    def _per_group(self, keys: Tensor, size: int) -> Tensor:
        """Count the `keys` of each group of `size` places."""
        return torch.bincount(keys.div(size, rounding_mode="floor"), minlength=self.places // size)

    def _missing(self, size: int) -> Tensor:
        """Return how many of each group were dropped, (groups,)."""
        return self._per_group(self.present, size) - self._per_group(self.kept, size)

    def _blocks(self) -> Iterator[slice]:
        """Yield all rows in order, as many at a time as make a block."""
        rows, columns = self.layer.shape
        most = min(self.max_size, _CPU_BLOCK if self.present.device.type == "cpu" else _BLOCK)
        height = max(1, most // columns // self._height) * self._height
        for start in range(0, rows, height):
            yield slice(start, min(start + height, rows))
