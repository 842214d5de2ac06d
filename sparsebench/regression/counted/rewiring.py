"""As sparselayers/by_rows: which connections go, where others grow, and what moves with them."""

from __future__ import annotations

from itertools import accumulate, compress, pairwise
from random import Random
from typing import Any

from sparsebench.regression.counted.memory import Memory, given
from sparsebench.regression.counted.way import INPUTS, OUTPUTS, THREADS, Way, Workload

_SHARE = 0.3  # of the connections goes, and as many grow
_SEED = 7


class Pattern:
    """Connections by rows, each a list of columns, and what the kernels know them by."""

    def __init__(self, kernels: Any, rows: list[list[int]]) -> None:
        self.row_ptr = [0, *accumulate(map(len, rows))]
        self.col = [column for row in rows for column in row]
        self.ptr, self._col = Memory.of("i32", self.row_ptr), Memory.of("i32", self.col)
        addresses = self.ptr.address, self._col.address
        self.kernel = kernels.Pattern32(OUTPUTS, INPUTS, *addresses)


class Rewiring(Way):
    """A step of training in which connections change; how many there are stays as it is."""

    name = "rewiring"
    products = ("drop", "above", "scatter", "merge", "places", "carry", "candidates")
    untyped = products[2:]
    types = ("f32",)  # others are read as numbers of this one
    batches = (0,)

    def __init__(self, kernels: Any) -> None:
        super().__init__(kernels)
        drawn, nnz = Random(_SEED), self.layer.nnz
        self.dropped, self.few = round(_SHARE * nnz), nnz // 50
        self.worth = drawn.sample(range(nnz), nnz)  # none is worth what another is
        self.kept = [each >= self.dropped for each in self.worth]
        rows, stay, grown = [], [], []
        for start, stop in pairwise(self.layer.row_ptr):
            rows.append(self.layer.col[start:stop])
            stay.append(list(compress(rows[-1], self.kept[start:stop])))
            grown.append(_free(drawn, stay[-1], len(rows[-1]) - len(stay[-1])))
        self.free = [INPUTS - len(row) for row in stay]
        self.old, self.grown = Pattern(kernels, rows), Pattern(kernels, grown)
        self.now = Pattern(kernels, [sorted(a + b) for a, b in zip(stay, grown, strict=True)])
        self._keep, self._worth = Memory.of("bool", self.kept), Memory.of("f32", self.worth)

    def drop(self, work: Workload) -> None:
        """Return which connections are not among those that are worth the least."""
        nnz, keep = self.layer.nnz, work.result("keep", self.layer.nnz, "bool")
        work.call(work.results["keep"].be, Memory.of("bool", [True] * nnz))
        drop = self.kernel("drop_smallest", work)
        work.call(drop, self._worth.address, keep, nnz, self.dropped, THREADS)

    def above(self, work: Workload) -> None:
        """Return where the few numbers are that are above a bar, from the first place on."""
        nnz, places = self.layer.nnz, work.result("places", self.layer.nnz, "i64")
        bar = float(nnz - 1 - self.few)
        work.call(self.kernel("above", work), self._worth.address, nnz, bar, places)

    def scatter(self, work: Workload) -> None:
        """Draw as many places as were left, uniformly from those that are free."""
        old, free = self.old.kernel, work.keep(Memory.of("i32", self.free))
        counts, ptr = work.result("counts", OUTPUTS, "i32"), work.result("ptr", OUTPUTS + 1, "i32")
        self._count_kept(work)
        work.call(old.spread, free, self.dropped, _SEED, counts)
        work.call(_add_up, work.results["counts"], work.results["ptr"])
        col = work.result("col", self.dropped, "i32")
        work.call(old.draw, self._keep.address, ptr, _SEED, col, THREADS)

    def merge(self, work: Workload) -> None:
        """Return the connections that are kept and those that have grown, in order."""
        self._count_kept(work)
        col = work.result("col", len(self.now.col), "i32")
        arrays = (self._keep.address, self.grown.kernel, self.now.ptr.address, col)
        work.call(self.old.kernel.merge, *arrays, THREADS)

    def places(self, work: Workload) -> None:
        """Return where each connection stood before."""
        places = work.result("places", len(self.now.col), "i64")
        work.call(self.old.kernel.find_places, self.now.kernel, places, THREADS)

    def carry(self, work: Workload) -> None:
        """Return what belongs to each connection: a number of four bytes, and one of two."""
        kinds, new = ("f32", "bf16"), len(self.now.col)
        before = [given(kind, self.layer.nnz, 1).address for kind in kinds]
        after = [work.result(kind, new, kind) for kind in kinds]
        work.call(self.old.kernel.carry, self.now.kernel, before, after, [4, 2], THREADS)

    def candidates(self, work: Workload) -> None:
        """Draw places by chances of outputs and inputs, and leave out what exists."""
        old, size = self.old.kernel, self.layer.nnz
        outputs, inputs = (self._chances(work, count) for count in (OUTPUTS, INPUTS))
        counts, ptr = work.result("counts", OUTPUTS, "i32"), work.result("ptr", OUTPUTS + 1, "i32")
        work.call(old.draw_rows, *outputs, size, _SEED, counts)
        results = (_SEED, ptr, work.result("col", size, "i32"), THREADS)
        work.call(old.draw_absent, 0, OUTPUTS, counts, *inputs, *results)

    def _count_kept(self, work: Workload) -> None:
        kept = work.result("kept", OUTPUTS, "i32")
        work.call(self.old.kernel.kept_of_rows, self._keep.address, kept, THREADS)

    def _chances(self, work: Workload, count: int) -> tuple[int, int]:
        """Add what makes a table of chances; return the addresses of its two columns."""
        drawn = Random(_SEED).randbytes(count)
        weights = work.keep(Memory.of("f64", [1 + byte % 4 for byte in drawn]))
        own, other = work.room("f64", count), work.room("i32", count)
        work.call(self.old.kernel.make_chances, weights, count, own, other)
        return own, other


def _free(drawn: Random, taken: list[int], count: int) -> list[int]:
    """Draw so many columns that are none of those that are taken."""
    found: set[int] = set()
    while len(found) < count:
        found.add(drawn.randrange(INPUTS))
        found.difference_update(taken)
    return sorted(found)


def _add_up(counts: Memory, ptr: Memory) -> None:
    ptr.be(Memory.of("i32", [0, *accumulate(map(int, counts.numbers()))]))
