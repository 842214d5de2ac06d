"""Sparse models as ONNX: dense layers for every runtime, whose zeros take no space in the file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparselayers.convert.model import convert_model
from sparselayers.layer import SparseLayer

_INDEX = 8  # bytes of the place of a value


def export_onnx(
    model: nn.Module,
    example_input: Any,
    path: Path | str,
    *,
    sparse: bool = True,
    **options: Any,
) -> None:
    """Write `model`, sparse or dense with zeros, to `path` as ONNX that computes the same.

    Sparse layers become dense ones with zeros, as in evaluation: ONNX has no operator with a
    sparse weight. With `sparse`, weights whose values and places take less space so are stored as
    `sparse_initializer`s (SparseTensorProto, int64 places in row-major order): the file is then
    about as small as the model, and runtimes make the dense weight when they load it (onnxruntime
    does). Some tools do not read these: `sparse=False` writes every weight densely.

    `example_input` is what the model is called with: a tuple of arguments, a mapping of keyword
    arguments, or the one argument. `options` go to `torch.onnx.export`, such as `dynamic_shapes`.
    The model is left as it is.

    Raises ImportError where onnx or onnxscript is missing, what `torch.onnx.export` raises, and
    ValueError for a model of more than 2 GB, which one such file cannot hold.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(f"export to ONNX needs {missing[0]}: pip install onnx onnxscript")
    if any(isinstance(module, SparseLayer) for module in model.modules()):
        dense = convert_model(model, SparseLayer, "dense")
    else:
        dense = copy.deepcopy(model)
    named = dict(example_input) if isinstance(example_input, Mapping) else None
    given = () if named else example_input
    program = torch.onnx.export(
        dense.eval(),
        given if isinstance(given, tuple) else (given,),
        kwargs=named,
        **{"dynamo": True, "verbose": False} | options,
    )
    proto = program.model_proto  # type: ignore[union-attr]  # with dynamo it is a program
    if sparse:
        _leave_zeros_out(proto.graph)
    try:
        data = proto.SerializeToString()
    except Exception as error:  # protobuf's own, which says how large
        raise ValueError(f"{path}: the model is too large for one file of ONNX: {error}") from None
    Path(path).write_bytes(data)


def _leave_zeros_out(graph: Any) -> None:
    """Move the initializers of a graph that are smaller so to its sparse ones."""
    import numpy as np
    from onnx import helper, numpy_helper

    kept = []
    for initializer in graph.initializer:
        array = numpy_helper.to_array(initializer)
        places = np.flatnonzero(array)
        if len(places) * (array.itemsize + _INDEX) >= array.nbytes or not len(places):
            kept.append(initializer)
            continue
        # The name of a sparse tensor is that of its values.
        values = numpy_helper.from_array(array.reshape(-1)[places], initializer.name)
        indices = numpy_helper.from_array(places.astype(np.int64), f"{initializer.name}.places")
        graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, indices, list(array.shape))
        )
    del graph.initializer[:]
    graph.initializer.extend(kept)
