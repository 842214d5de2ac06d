"""Our layer on a GPU by tiles with their zeros, on tensor cores, where it would choose."""

from __future__ import annotations

from sparsebench.implementations.ours import Ours


class OursBitmaps(Ours):
    """`sparselayers.SparseLinear` with `backend="triton_bitmaps"`."""

    name = "ours_bitmaps"
    operations = ("linear",)
    devices = ("cuda",)
    dtypes = ("float32", "float16", "bfloat16")
    stands_in = False
    backend = "triton_bitmaps"
