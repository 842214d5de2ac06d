"""The dense layer in OpenVINO: a graph of one product, compiled when the layer is built.

Compiling packs the weight. Calls hand over the input where it lies; the output is a copy, which the
next call leaves alone.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, weight_of

# Inputs of a problem are normal numbers: what a calibration on them would give.
_RANGE = 6.0


class DenseOpenVINO(Dense):
    """`openvino.Core().compile_model` of a matrix product and a sum, in inference."""

    name = "dense_openvino"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float32",)
    trains = False
    modules = ("openvino",)
    install = "pip install openvino"
    setup_s = 0.5

    def bytes_needed(self, case: Case) -> int:
        """Count the model and the packed weight."""
        return super().bytes_needed(case) + 3 * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Compile the model for this number of threads, in full float32."""
        return Compiled(problem, quantized=bool(self.precision), properties=self.properties())

    def properties(self) -> dict[str, Any]:
        """Return what the processor's plugin is told beside the number of threads."""
        return {"INFERENCE_PRECISION_HINT": "f32"}


class Compiled(nn.Module):
    """A compiled model; `quantized` with weights and input of 8 bits, to ranges that are fixed."""

    def __init__(self, problem: Problem, *, quantized: bool, properties: dict[str, Any]) -> None:
        super().__init__()
        vino: Any = importlib.import_module("openvino")
        operators: Any = importlib.import_module("openvino.opset13")
        x = operators.parameter(list(problem.x.shape), vino.Type.f32, name="x")
        weight = operators.constant(weight_of(problem).numpy())
        left, right = x, weight
        if quantized:
            most = weight_of(problem).abs().amax(1, keepdim=True).clamp_min(1e-30).numpy()
            if not torch.cpu._is_vnni_supported():
                most = 2 * most  # or sums of two products of 8 bits overflow: 7 bits are used
            left = operators.fake_quantize(x, -_RANGE, _RANGE, -_RANGE, _RANGE, 256)
            right = operators.fake_quantize(weight, -most, most, -most, most, 255)
        product = operators.matmul(left, right, False, True)
        y = operators.add(product, operators.constant(problem.bias.numpy()))
        told = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        model = vino.Model([y], [x], "layer")
        self._model = vino.Core().compile_model(model, "CPU", told | properties)
        self._request = self._model.create_infer_request()

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, out) of (batch, in)."""
        found = self._request.infer({0: x.detach().numpy()}, share_inputs=True)
        return torch.from_numpy(found[0])
