"""Our layer on a GPU from connection to connection, where it would choose."""

from __future__ import annotations

from sparsebench.implementations.ours import Ours


class OursGather(Ours):
    """`sparselayers.SparseLinear` with `backend="triton_gather"`."""

    name = "ours_gather"
    operations = ("linear",)
    devices = ("cuda",)
    stands_in = False
    backend = "triton_gather"
