"""Sparse layers in files of their own, in the safetensors format, without a copy of the arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.linear import SparseLinear

_KIND = "sparsebench SparseLinear"


def save(layer: SparseLinear, path: Path | str) -> None:
    """Write the connections, values and bias of `layer` to `path`, a safetensors file.

    What is written are the layer's own arrays, not copies of them. At every moment either the old
    file or the new one is there, whole. Raises ImportError where safetensors is not installed,
    and OSError where the file cannot be written.
    """
    from safetensors.torch import save_file

    path = Path(path)
    half = path.with_name(f"{path.name}.tmp")
    sizes = {"in_features": str(layer.in_features), "out_features": str(layer.out_features)}
    try:
        save_file(_arrays(layer), half, metadata={"kind": _KIND, **sizes})
        with half.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(half, path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def _arrays(layer: SparseLinear) -> dict[str, Tensor]:
    """Return what a state dict holds, without a copy of the connections."""
    connectivity = layer.connectivity
    arrays = {"row_ptr": connectivity.row_ptr, "col": connectivity.col}
    return arrays | {name: tensor.detach() for name, tensor in layer.named_parameters()}


def load(path: Path | str) -> SparseLinear:
    """Return the layer that `save` wrote to `path`, on the CPU.

    Its arrays are the file's, mapped into memory and read where they are used (the connections
    at once: they are checked); what is changed is copied then, and never written back.
    Nobody may write into the file, or cut it, while the layer lives, or the process may end:
    replace it, as `save` does.

    Raises ImportError where safetensors is not installed, and ValueError, naming the file, where
    it is no such file or its connections fit no layer.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if "values" in state:  # the name of the weights in files of version 0.1
                state["weights"] = state.pop("values")
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    if about.get("kind") != _KIND or "weights" not in state:
        raise ValueError(f"{path} holds no {_KIND}: it holds {', '.join(state) or 'nothing'}")
    try:
        shape = int(about["out_features"]), int(about["in_features"])
        layer = _small(shape, state)
        own = Connectivity.adopt(shape, state["row_ptr"], state["col"])  # nobody else has them
        layer.load_state_dict(state | {"row_ptr": own.row_ptr, "col": own.col}, assign=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} holds no whole layer: {error}") from error
    return layer


def _small(shape: tuple[int, int], state: dict[str, Any]) -> SparseLinear:
    """Return a layer of that shape with one connection: the rest comes from `state`."""
    row_ptr = torch.ones(shape[0] + 1, dtype=state["row_ptr"].dtype)
    row_ptr[0] = 0
    one = Connectivity(shape, row_ptr, row_ptr.new_zeros(1))
    return SparseLinear(
        shape[1],
        shape[0],
        "bias" in state,
        connectivity=one,
        dtype=state["weights"].dtype,
        generator=torch.Generator(),
    )
