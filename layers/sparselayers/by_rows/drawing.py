"""Places for connections to grow in: anywhere, or by chances of outputs and inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.native import library
from sparselayers.backends.native.library import address
from sparselayers.by_rows.kernels import as_type, kept_of_rows, pattern, pointers
from sparselayers.connectivity import Connectivity, index_dtype


def scattered(
    taken: Connectivity, keep: Tensor | None, count: int, generator: torch.Generator
) -> Connectivity:
    """Draw `count` places, uniformly without replacement, none of them in `taken`.

    The booleans `keep` (nnz,) say which of these connections count; None stands for all of them.
    How many fall to each row is drawn first, then the places of each, from random numbers of its
    own.

    Raises ValueError where fewer are free.
    """
    dtype = torch.promote_types(taken.dtype, index_dtype(taken.shape, count))
    taken = as_type(taken, dtype)
    told, columns = pattern(taken), taken.shape[1]
    seeds = torch.randint(2**62, (2,), generator=generator).tolist()
    there = taken.row_ptr.diff() if keep is None else kept_of_rows(taken, keep)
    free, drawn = columns - there, torch.empty_like(there)
    if count > (most := int(free.sum())):
        raise ValueError(f"at most {most} connections can grow, got {count}")
    told.kernel.spread(free.data_ptr(), count, seeds[0], drawn.data_ptr())
    ptr = pointers(drawn)
    col = ptr.new_empty(count)
    threads = library.threads(taken.nnz + count)
    told.kernel.draw(address(keep), ptr.data_ptr(), seeds[1], col.data_ptr(), threads)
    return Connectivity.trusted(taken.shape, ptr, col)


class Candidates:
    """Places that are none of a layer's connections, drawn with replacement and kept once.

    A place is an output and an input, drawn in proportion to `outputs` (out,) and `inputs` (in,),
    float64; None: all alike. `size` of them are drawn; those that exist, and repetitions, do not
    count.
    """

    def __init__(
        self,
        present: Connectivity,
        outputs: Tensor | None,
        inputs: Tensor | None,
        size: int,
        generator: torch.Generator,
    ) -> None:
        dtype = torch.promote_types(present.dtype, index_dtype(present.shape, size))
        self._present = present = as_type(present, dtype)
        self._told = pattern(present)
        first, self._seed = torch.randint(2**62, (2,), generator=generator).tolist()
        self._inputs = self._chances(inputs)
        chances = self._chances(outputs)
        self._drawn = torch.empty(present.shape[0], dtype=dtype)
        self._told.kernel.draw_rows(*map(address, chances), size, first, self._drawn.data_ptr())
        self._col = torch.empty(size, dtype=dtype)
        self._ptr = torch.zeros(present.shape[0] + 1, dtype=dtype)
        self._used = 0

    def blocks(self, most: int) -> list[slice]:
        """Return all outputs in order, as many at a time as have about `most` candidates."""
        ends = self._drawn.cumsum(0)
        rows, found, start = ends.numel(), [], 0
        while start < rows:
            before = int(ends[start - 1]) if start else 0
            stop = int(torch.searchsorted(ends, before + most, right=True))
            found.append(slice(start, max(stop, start + 1)))
            start = found[-1].stop
        return found

    def draw(self, rows: slice) -> Connectivity:
        """Draw the candidates of the next outputs; rows count from the first of these."""
        ptr = self._ptr.new_empty(rows.stop - rows.start + 1)
        room = self._col[self._used :]
        self._told.kernel.draw_absent(
            rows.start,
            rows.stop,
            self._drawn.data_ptr(),
            *map(address, self._inputs),
            self._seed,
            ptr.data_ptr(),
            room.data_ptr(),
            library.threads(self._present.nnz),
        )
        count = int(ptr[-1])
        self._ptr[rows.start + 1 : rows.stop + 1] = ptr[1:] + self._used
        self._used += count
        return Connectivity.trusted((len(ptr) - 1, self._present.shape[1]), ptr, room[:count])

    def found(self) -> Connectivity:
        """Return all candidates, once they have been drawn."""
        return Connectivity.trusted(self._present.shape, self._ptr, self._col[: self._used])

    def _chances(self, weights: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if weights is None or not 0.0 < float(weights.sum()) < float("inf"):
            return None, None
        weights = weights.to("cpu", torch.float64).contiguous()
        own = torch.empty_like(weights)
        other = torch.empty(weights.numel(), dtype=self._present.row_ptr.dtype)
        self._told.kernel.make_chances(
            weights.data_ptr(), weights.numel(), own.data_ptr(), other.data_ptr()
        )
        return own, other
