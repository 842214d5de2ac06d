"""What a sparse layer reads from state dicts, whole or in shards, its own or a dense layer's.

The state of a layer is three arrays that belong together, `weights`, `row_ptr` and `col`, and the
bias. Where they come one after the other, as from the shards of a large checkpoint, each is taken
over as soon as it fits what is there, and kept until then. A layer that waits for the rest refuses
to compute.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sparselayers import dense
from sparselayers.connections import Connections
from sparselayers.connectivity import Connectivity, index_dtype, owner
from sparselayers.topology_change import TopologyChange

ARRAYS = ("weights", "row_ptr", "col")
INDICES = ARRAYS[1:]  # what of the connections is in a state dict
_DENSE = ("weight", "weight_orig", "weight_mask")  # of a dense layer, pruned or being pruned
_OLD = {"values": "weights"}  # what `weights` was called once


class Stateful(nn.Module):
    """The half of a sparse layer that reads and writes state dicts."""

    shape: tuple[int, int]
    weights: nn.Parameter
    bias: nn.Parameter | None
    _connections: Connections

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weight as the dense layer has it."""
        return self.shape

    def _replace(self, change: TopologyChange) -> None:
        """Let the new connections be the layer's, and say so."""
        raise NotImplementedError

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        self._connections.get()
        destination[f"{prefix}row_ptr"], destination[f"{prefix}col"] = self._connections.shown

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take over weights and connections, of another nnz too; nothing where they do not fit."""
        try:
            found = read(self, state_dict, prefix)
        except ValueError as error:
            error_msgs.append(f"{prefix.rstrip('.') or type(self).__name__}: {error}")
            return
        rest, nnz = found.rest, found.connectivity.nnz
        if found.weights is None:
            pass
        elif nnz == self.weights.numel():
            rest[f"{prefix}weights"] = found.weights
        elif local_metadata.get("assign_to_params_buffers", False):  # the old one is left as it is
            there = self.weights.detach().new_empty(nnz)
            self.weights = nn.Parameter(there, requires_grad=self.weights.requires_grad)
            rest[f"{prefix}weights"] = found.weights
        else:
            resize(self.weights, nnz)
            with torch.no_grad():
                self.weights.copy_(found.weights)
        missing: list[str] = []
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing, unexpected_keys, error_msgs
        )
        missing_keys += [name for name in missing if name != f"{prefix}weights"]
        missing_keys += [prefix + name for name in found.missing]
        if found.connectivity is not self._connections.current:
            self._replace(TopologyChange(self._connections.current, found.connectivity))


class Found(NamedTuple):
    """What a state dict has for a layer: `rest` is for nn.Module, with the prefix in its names."""

    rest: dict[str, Any]
    connectivity: Connectivity
    weights: Tensor | None  # None where none came, or where they wait
    missing: list[str]


def read(layer: Stateful, state_dict: dict[str, Any], prefix: str) -> Found:
    """Return what to take over of a state dict, and keep what has to wait for the rest.

    Raises ValueError, naming the array, for what fits no such layer; what waited is forgotten then.
    """
    rest = dict(state_dict)
    names = (*ARRAYS, *_DENSE, *_OLD)
    came = {_OLD.get(n, n): rest.pop(prefix + n) for n in names if prefix + n in rest}
    _check(layer, came, rest.get(f"{prefix}bias"))
    if f"{prefix}bias_mask" in rest and f"{prefix}bias_orig" in rest:
        rest[f"{prefix}bias"] = rest.pop(f"{prefix}bias_orig") * rest.pop(f"{prefix}bias_mask")
    connections = layer._connections
    # Who fills a shard up with what is there, as torch.distributed.checkpoint does, brings nothing.
    own_again = _is_own(layer, came.get("weights"))
    new = {n: array for n, array in came.items() if not (n == "weights" and own_again)}
    arrays = _sparse(layer, connections.waiting | new)
    connections.waiting = {}
    now = connections.get()
    # Weights that are computed of others are not in the state, but what they are computed of.
    own = ARRAYS if "weights" in layer._parameters else INDICES
    missing = [] if any(name in came for name in _DENSE) else [n for n in own if n not in came]
    try:
        connectivity = _connectivity(layer, now, arrays)
        weights = arrays.get("weights")
        _fits(connectivity, layer.weights if weights is None else weights, arrays)
    except ValueError as error:
        if all(name in arrays for name in ARRAYS):
            raise
        connections.wait(arrays, _needs(layer, arrays, error))
        return Found(rest, now, None, missing)
    if connectivity.nnz != layer.weights.numel():
        require_whole(layer)
    return Found(rest, connectivity, weights, missing)


def require_whole(layer: Stateful) -> None:
    """Raise ValueError where the weights are not the layer's own, whole parameter.

    FSDP and tensor parallelism have them in shards; parametrizations compute them of others.
    """
    weights = layer._parameters.get("weights")
    if weights is None and (parametrize.is_parametrized(layer) or hasattr(layer, "weights_orig")):
        raise ValueError(
            "the weights of this layer are computed of others (a parametrization, or "
            "torch.nn.utils.prune): remove that before its connections change"
        )
    if (
        weights is None
        or hasattr(weights, "device_mesh")  # a DTensor: fully_shard
        or getattr(weights, "_fsdp_flattened", False)  # FullyShardedDataParallel
    ):
        raise ValueError(
            f"the weights of a sparse layer of shape {layer.shape} are sharded over processes: "
            "its connections cannot change. Change them before the model is "
            "sharded, or train it with DistributedDataParallel"
        )


def resize(parameter: nn.Parameter, nnz: int) -> None:
    """Make room for `nnz` numbers in the same parameter; its gradient goes where it has others."""
    if parameter.numel() == nnz:
        return
    parameter.grad = None
    # A graph that somebody still holds keeps the node that accumulates gradients, and with it the
    # old size. PyTorch makes a new node where the type of the data has changed: so it does, once.
    data = parameter.data.new_zeros(nnz)
    other = torch.float32 if data.dtype == torch.float64 else torch.float64
    parameter.data = torch.empty(0, dtype=other, device=data.device)
    parameter.data = data


def _is_own(layer: Stateful, weights: Any) -> bool:
    """Whether these are the layer's own weights, in its memory."""
    own = layer._parameters.get("weights")
    return (
        type(own) is nn.Parameter
        and type(weights) in (Tensor, nn.Parameter)
        and weights.shape == own.shape
        and weights.dtype == own.dtype
        and own.numel() > 0
        and not (own.is_meta or weights.is_meta)
        and weights.data_ptr() == own.data_ptr()
    )


def _check(layer: Stateful, came: dict[str, Any], bias: Any) -> None:
    """Raise ValueError for what is no array of such a layer, whatever else there may be."""
    for name, tensor in (came | ({} if bias is None else {"bias": bias})).items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_complex():
            raise ValueError(f"{name} must be a real dense tensor, got {_describe(tensor)}")
        if tensor.is_meta and not layer.weights.is_meta:
            raise ValueError(f"{name} is on the meta device: it has no data")
        if name in INDICES and (tensor.dim() != 1 or tensor.is_floating_point()):
            kind = f"{tensor.dim()}-D {str(tensor.dtype).removeprefix('torch.')}"
            raise ValueError(f"{name} must be a 1-D int32 or int64 tensor, got {kind}")
        if name == "row_ptr" and tensor.numel() != layer.shape[0] + 1:
            rows = layer.shape[0] + 1
            raise ValueError(f"row_ptr must have out + 1 = {rows} entries, got {tensor.numel()}")
        if name in _DENSE and tensor.shape != layer.weight_shape:
            wanted = tuple(layer.weight_shape)
            raise ValueError(f"{name} must have the shape {wanted}, got {tuple(tensor.shape)}")
    if bias is not None and layer.bias is not None and bias.shape != layer.bias.shape:
        raise ValueError(f"bias must have {layer.shape[0]} entries, got {tuple(bias.shape)}")


def _sparse(layer: Stateful, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the arrays, those of a dense layer as those of a sparse one with its topology."""
    if "weight" in arrays:
        weight, mask = arrays["weight"], None
    elif "weight_orig" in arrays and "weight_mask" in arrays:
        weight, mask = arrays["weight_orig"], arrays["weight_mask"].bool()
    else:
        return arrays
    if weight.is_meta:
        raise ValueError("weight is on the meta device: it has no data to find connections in")
    connectivity, weights = dense.connections(weight, mask, keep_zeros=mask is not None)
    return {"weights": weights, "row_ptr": connectivity.row_ptr, "col": connectivity.col}


def _connectivity(layer: Stateful, now: Connectivity, arrays: dict[str, Tensor]) -> Connectivity:
    """Return the connections that arrays describe, or raise ValueError.

    An array that is missing is the layer's. Integers of any type will do. Arrays are copied, but
    for those of a Connectivity: they are it.
    """
    given = [arrays[name] for name in INDICES if name in arrays]
    if not given or any(array.is_meta for array in given):
        return now  # a layer on the meta device has its connections all the same
    both = [
        arrays.get(name, own).to(now.device)
        for name, own in zip(INDICES, (now.row_ptr, now.col), strict=True)
    ]
    if any(array.dtype != index_dtype(layer.shape, both[1].numel()) for array in both):
        both = [array.long() for array in both]
    whole = owner(*both)
    made = whole if whole and whole.shape == layer.shape else Connectivity(layer.shape, *both)
    dtype = index_dtype(layer.shape, made.nnz)
    if made.col.dtype != dtype:
        made = Connectivity.adopt(layer.shape, made.row_ptr.to(dtype), made.col.to(dtype))
    return now if made.equals(now) else made


def _fits(connectivity: Connectivity, weights: Tensor, arrays: dict[str, Tensor]) -> None:
    if any(name.startswith("weight_") for name in arrays):
        raise ValueError("a dense weight and its mask belong together")
    if weights.shape != (connectivity.nnz,):
        whose = "col" if any(name in arrays for name in INDICES) else "the layer"
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}, but {whose} has "
            f"{connectivity.nnz} connections"
        )


def _needs(layer: Stateful, arrays: dict[str, Tensor], error: ValueError) -> str:
    """Say which arrays are there, and which are missing beside them."""
    half = [name for name in ("weight_orig", "weight_mask") if name in arrays]
    if half:
        missing = [name for name in ("weight_orig", "weight_mask") if name not in half]
    else:
        missing = [name for name in ARRAYS if name not in arrays]
        announced = arrays["col"].numel() if "col" in arrays else None
        if "row_ptr" in arrays and announced is None and not arrays["row_ptr"].is_meta:
            announced = int(arrays["row_ptr"][-1])
        if "weights" in missing and layer.weights.numel() == announced:
            missing.remove("weights")
    return (
        f"a sparse layer of shape {layer.shape} has {' and '.join(arrays)} of a state dict, and "
        f"waits for {' and '.join(missing)}, which belong to them: load the rest of it ({error})"
    )


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.layout} {value.dtype}"
    return type(value).__name__
