"""SparseProp's other convolution: over the pixels of a row, in PyTorch's own order."""

from __future__ import annotations

from sparsebench.implementations.sparseprop import SparseProp


class SparsePropPixels(SparseProp):
    """`sparseprop.modules.SparseConv2d` with the kernel over the pixels of a row."""

    name = "sparseprop_pixels"
    operations = ("conv2d",)
    over_pixels = True
