"""The dense layer in ONNX Runtime, by its dynamic quantisation: weights and inputs of 8 bits."""

from __future__ import annotations

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense_onnxruntime import DenseONNXRuntime, graph_of, quantized


class DenseONNXRuntimeInt8(DenseONNXRuntime):
    """`onnxruntime.quantization.quantize_dynamic`, in inference."""

    name = "dense_onnxruntime_int8"
    precision = "int8"
    modules = (*DenseONNXRuntime.modules, "onnxruntime.quantization")
    setup_s = 1.0

    def model(self, problem: Problem) -> bytes:
        """Return the quantised model."""
        return quantized(graph_of(problem))
