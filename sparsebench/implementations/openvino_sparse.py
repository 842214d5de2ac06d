"""OpenVINO's decompression of sparse weights: packed in memory, multiplied densely, in 8 bits.

The weights that are zero are not read; they are multiplied. It exists for quantised products on
processors with AMX alone: elsewhere the setting is taken and changes nothing, and so is refused
here.
"""

from __future__ import annotations

from typing import Any

import torch

from sparsebench.cases.case import Case
from sparsebench.implementations.dense_openvino_int8 import DenseOpenVINOInt8

_LEAST = 0.5  # of the weights, that are zero: from there on they are packed


class OpenVINOSparse(DenseOpenVINOInt8):
    """`CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE`, in inference."""

    name = "openvino_sparse"

    def unavailable(self) -> str | None:
        """Say that the processor has no AMX."""
        if reason := super().unavailable():
            return reason
        if torch.cpu._is_amx_tile_supported():
            return None
        return "this processor has no AMX, without which OpenVINO packs no sparse weights"

    def unsupported(self, case: Case) -> str | None:
        """Say that too few of the weights are zero."""
        if reason := super().unsupported(case):
            return reason
        if case.sparsity < _LEAST:
            return f"{self.name} is for sparsities of {_LEAST:.0%} and more"
        return None

    def properties(self) -> dict[str, Any]:
        """Tell from which share of zeros on to pack."""
        return super().properties() | {"CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE": _LEAST}
