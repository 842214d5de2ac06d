"""What the lanes are told of a layer for a batch: bits, or columns and their transpose.

Bits are a fraction of the memory where connections are many, and as fast for larger batches: to
find the next connection takes a few instructions, which several registers of products hide.
"""

from __future__ import annotations

import torch

from sparselayers.backends.native import arranging, bits
from sparselayers.backends.native.bits import bitmap_of
from sparselayers.backends.native.rows import columns_of, rows_of
from sparselayers.backends.native.told import Told
from sparselayers.connectivity import Connectivity

# From this share of all places on, which 75% sparse layers have. Of fewer connections a word holds
# so few that to begin with it takes as long as they do.
_SHARE = 0.24
_REGISTERS = 4  # that a block has at least: see bits_registers in csrc/lanes/layer.h
# Threads share no row, and no word of columns: each is to have several. Smaller layers take little
# memory as columns.
_OUTPUTS, _INPUTS = 128, 256


def serve(batch: int, dtype: torch.dtype, connectivity: Connectivity) -> bool:
    """Return whether the lanes read these connections as bits for such a batch."""
    outputs, inputs = connectivity.shape
    if outputs < _OUTPUTS or inputs < _INPUTS or connectivity.nnz < _SHARE * outputs * inputs:
        return False
    return bits.serves(connectivity) and arranging.registers(batch, dtype) >= _REGISTERS


def told_of(connectivity: Connectivity, *, by_bits: bool) -> Told:
    """Return the connections as kernels take them, where these serve (`serve`) as bits."""
    return bitmap_of(connectivity) if by_bits else rows_of(connectivity)


def transpose_of(connectivity: Connectivity, *, by_bits: bool) -> Told | None:
    """Return what kernels take beside them for dx: None where bits say that too."""
    return None if by_bits else columns_of(connectivity)
