"""The dense layer in OpenVINO, quantised: weights of 8 bits row by row, inputs to a fixed range.

As its own tools leave a model after calibration; compiling turns the marks in it into products of
integers.
"""

from __future__ import annotations

from typing import Any

from sparsebench.implementations.dense_openvino import DenseOpenVINO


class DenseOpenVINOInt8(DenseOpenVINO):
    """The quantised product, in inference."""

    name = "dense_openvino_int8"
    precision = "int8"

    def properties(self) -> dict[str, Any]:
        """Tell nothing."""
        return {}
