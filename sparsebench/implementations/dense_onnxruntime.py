"""The dense layer in ONNX Runtime: a graph of one product, made when the layer is built.

The session packs the weight when it is made. Calls hand over the input where it lies; the output is
a new array.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, weight_of

_LARGEST = 2**31  # bytes of a model: protobuf's limit


class DenseONNXRuntime(Dense):
    """`onnxruntime.InferenceSession` of a matrix product and a sum, in inference."""

    name = "dense_onnxruntime"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float32",)
    trains = False
    modules: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    install = "pip install onnx onnxruntime"
    setup_s = 0.5

    def unsupported(self, case: Case) -> str | None:
        """Say where the weight is too large for a model in one piece."""
        if reason := super().unsupported(case):
            return reason
        if (size := case.weights * DTYPE_BYTES[case.dtype]) >= _LARGEST:
            return f"{self.name}: a model of {size / 1e9:.3g} GB; ONNX takes less than 2.1"
        return None

    def bytes_needed(self, case: Case) -> int:
        """Count the model, its text, and the packed weight."""
        return super().bytes_needed(case) + 3 * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Make the model and a session of it."""
        return Session(self.model(problem))

    def model(self, problem: Problem) -> bytes:
        """Return the model as ONNX has it."""
        content: bytes = graph_of(problem).SerializeToString()
        return content


class Session(nn.Module):
    """A model of one input `x` and one output."""

    def __init__(self, model: bytes) -> None:
        super().__init__()
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def forward(self, x: Tensor) -> Tensor:
        """Compute (batch, out) of (batch, in)."""
        return torch.from_numpy(self._session.run(None, {"x": x.detach().numpy()})[0])


def graph_of(problem: Problem) -> Any:
    """Return an ONNX model of y = x Wᵀ + bias."""
    onnx: Any = importlib.import_module("onnx")
    make, numbers = onnx.helper, onnx.numpy_helper
    weight = weight_of(problem).t().contiguous().numpy()
    kept = [numbers.from_array(weight, "weight"), numbers.from_array(problem.bias.numpy(), "bias")]
    nodes = [
        make.make_node("MatMul", ["x", "weight"], ["product"], name="product"),
        make.make_node("Add", ["product", "bias"], ["y"], name="sum"),
    ]
    kind = onnx.TensorProto.FLOAT
    ends = [
        make.make_tensor_value_info(name, kind, list(tensor.shape))
        for name, tensor in (("x", problem.x), ("y", problem.dy))
    ]
    graph = make.make_graph(nodes, "layer", ends[:1], ends[1:], kept)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    model.ir_version = 8  # that of the opset: older runtimes read it too
    return model


def quantized(model: Any) -> bytes:
    """Return a model with weights of 8 bits, whose products round their input in every call.

    Of 7 where the processor has no VNNI: there sums of two products of 8 bits overflow.
    """
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantization.quantize_dynamic(
            model, path,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=not torch.cpu._is_vnni_supported(),
        )  # fmt: skip
        return path.read_bytes()
