"""Sparse models in folders of their own: what is sparse, and the numbers, but no code.

A folder has `config.json`, which says which layers are sparse and of what shape, and
`model.safetensors`, the state dict. The architecture is the program's that loads it: as a model
with any weights. Nothing in the folder is executed, and nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from sparselayers import dense
from sparselayers.attention import PROJECTIONS, SparseMultiheadAttention
from sparselayers.connectivity import Connectivity
from sparselayers.convert.copies import replaced
from sparselayers.convert.layer import SPARSE
from sparselayers.convert.transposed import is_transposed
from sparselayers.layer import SparseLayer
from sparselayers.weight import check_format

Model = TypeVar("Model", bound=nn.Module)

CONFIG, TENSORS = "config.json", "model.safetensors"
_KIND, _VERSION = "sparselayers model", 1


def save_pretrained(model: nn.Module, folder: Path | str) -> None:
    """Write a model with sparse layers into `folder`, which is made where it is missing.

    Tensors that are shared are written once. Each of the two files is there whole, or not at all.

    Raises ImportError where safetensors is not installed, ValueError for a model without sparse
    layers, on the meta device, or one whose state dict holds other things than tensors, and
    OSError where the folder cannot be written.
    """
    _need_safetensors()
    from safetensors.torch import save

    layers = {
        path: {"kind": type(layer).__name__, "shape": [*layer.weight_shape], "format": layer.format}
        for path, layer in _sparse(model).items()
    }
    if not layers:
        raise ValueError("the model has no sparse layers: sparsify or convert it first")
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[Any, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ValueError(f"{name} of the state dict is no dense tensor: it cannot be saved")
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device: it has no data to save")
        other = first.setdefault(id(tensor), name)
        if other != name:
            shared[name] = other
        else:
            tensors[name] = tensor.detach().cpu().contiguous()
    config = {
        "kind": _KIND,
        "version": _VERSION,
        "model": type(model).__name__,  # to be read by people
        "layers": layers,
        "attention": [
            path for path, m in model.named_modules() if isinstance(m, SparseMultiheadAttention)
        ],
        "shared": shared,
    }
    # Views of one memory are two tensors to whoever loads them.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / TENSORS, save(tensors, metadata={"kind": _KIND}))
    _write(folder / CONFIG, json.dumps(config, indent=2).encode())


def load_pretrained(folder: Path | str, model: Model | Callable[[], Model]) -> Model:
    """Return `model`, sparse and with the numbers that `save_pretrained` wrote to `folder`.

    `model` is the architecture, or a function that makes it, such as
    `torchvision.models.resnet18`: its weights do not matter, and may be on the meta device. Layers
    that are sparse in the folder become so; a model that is given stays as it is. Dense layers that
    torch.nn.utils.prune was masking have zeros where it masked. The result is
    where the architecture was, on the CPU where that was the meta device.

    Raises ImportError where safetensors is not installed; FileNotFoundError where a file is
    missing; ValueError, naming file and layer or tensor, for a folder of something else (pickled
    checkpoints are never read) and for one that does not belong to the architecture.
    """
    folder = Path(folder)
    config = _config(folder)
    state = _tensors(folder / TENSORS)
    for name, other in config["shared"].items():
        if other not in state:
            raise ValueError(f"{folder / CONFIG}: {name} shares {other}, which is not there")
        state[name] = state[other]
    made: Any = model if isinstance(model, nn.Module) else model()
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ValueError(f"model must be a module or a function that makes one, got {kind}")
    architecture = cast(Model, made)
    try:
        new = replaced(architecture, _replacements(architecture, config, state), inplace=False)
        _fold_masks(state, set(new.state_dict()))
        missing = [n for n in new.state_dict() if n not in state]
        if missing:
            raise ValueError(f"{missing[0]} is not in {TENSORS}")
        more = [n for n in state if n not in new.state_dict()]
        if more:
            raise ValueError(f"{more[0]} of {TENSORS} is not in the architecture")
        _load(new, state, config["shared"])
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder} does not fit this architecture: {error}") from error
    return new


def _fold_masks(state: dict[str, Tensor], names: set[str]) -> None:
    """Make weights of what torch.nn.utils.prune was masking, where the model has no masks."""
    for original in [name for name in state if name.endswith("_orig")]:
        name = original.removesuffix("_orig")
        if name in names and original not in names and f"{name}_mask" in state:
            state[name] = state.pop(original) * state.pop(f"{name}_mask")


def _load(model: nn.Module, state: dict[str, Tensor], shared: dict[str, str]) -> None:
    """Take over the state in the types it was saved in, where the model is."""
    places = {name: tensor.device for name, tensor in model.state_dict().items()}
    ties = _ties(model)
    for name, other in ties.items():
        if shared.get(name, name) != shared.get(other, other):
            raise ValueError(f"{name} and {other} are one parameter there, and two in the folder")
    here = {n: state[n].clone().to("cpu" if d.type == "meta" else d) for n, d in places.items()}
    model.load_state_dict(here, assign=True)
    for name, other in (ties | shared).items():
        owner, _, last = name.rpartition(".")
        if last in (parameters := model.get_submodule(owner)._parameters):
            parameters[last] = model.get_parameter(other)
    lost = [n for n, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]
    if lost:
        raise ValueError(f"{lost[0]} is on the meta device, and not saved: build it with data")


def _ties(model: nn.Module) -> dict[str, str]:
    """Return the second and further names of parameters, and the first of each."""
    first: dict[nn.Parameter, str] = {}
    every = model.named_parameters(remove_duplicate=False)
    return {n: first[p] for n, p in every if first.setdefault(p, n) != n}


def _sparse(model: nn.Module) -> dict[str, SparseLayer]:
    return {path: m for path, m in model.named_modules() if isinstance(m, SparseLayer)}


def _replacements(
    model: nn.Module, config: dict[str, Any], state: dict[str, Tensor]
) -> dict[nn.Module, nn.Module]:
    """Return sparse layers, still of other connections, for the dense ones in their places."""
    modules = dict(model.named_modules(remove_duplicate=False))
    layers = dict(config["layers"])
    new: dict[nn.Module, nn.Module] = {}
    for path in config["attention"]:
        old = modules.get(path)
        if isinstance(old, SparseMultiheadAttention):
            continue
        if old is None or not dense.is_plain(old, nn.MultiheadAttention):
            raise ValueError(f"{path or 'the model itself'} is no MultiheadAttention there")
        opened = SparseMultiheadAttention.shaped(old)
        prefix = f"{path}." if path else ""
        for name in PROJECTIONS:
            about = layers.pop(f"{prefix}{name}", None)
            if about is not None:
                projection = getattr(opened, name)
                setattr(opened, name, _made(f"{prefix}{name}", projection, about, state))
        new[old] = opened
    for path, about in layers.items():
        if path not in modules:
            raise ValueError(f"it has no layer {path!r}")
        made = _made(path, modules[path], about, state)
        if made is not modules[path]:
            new[modules[path]] = made
    return new


def _made(path: str, old: nn.Module, about: Any, state: dict[str, Tensor]) -> nn.Module:
    """Return a sparse layer in the place of `old`, with one connection."""
    named = {kind.__name__: kind for kind in SPARSE}
    kind = named.get(about["kind"])
    if kind is None:
        raise ValueError(f"{path} is of an unknown kind {about['kind']!r}")
    shape = tuple(about["shape"])
    if isinstance(old, SparseLayer):
        if type(old) is not kind or tuple(old.weight_shape) != shape:
            raise ValueError(f"{path} is a {type(old).__name__} of shape {old.weight_shape}")
        return old
    weight: Any = getattr(old, "weight", torch.empty(0))
    if is_transposed(old):
        old, weight = nn.Linear(weight.shape[0], weight.shape[1], device="meta"), weight.t()
    if not dense.is_plain(old, kind.dense_type) or tuple(weight.shape) != shape:
        raise ValueError(
            f"{path or 'the model itself'} is a {type(old).__name__} of shape "
            f"{tuple(weight.shape)} there, and a {kind.__name__} of shape {shape} in the folder"
        )
    saved = state.get(f"{path}.weights" if path else "weights")
    device = weight.device if weight.device.type != "meta" else torch.device("cpu")
    new = kind._like(
        old,
        bias=old.bias is not None,
        connectivity=_one((shape[0], weight[0].numel()), device),
        dtype=weight.dtype if saved is None else saved.dtype,
        device=device,
        generator=torch.Generator(),
    )
    new.format = check_format(about["format"])
    return dense.follow(new, old, ("weights", "weight"))


def _one(shape: tuple[int, int], device: torch.device) -> Connectivity:
    row_ptr = torch.ones(shape[0] + 1, dtype=torch.int32)
    row_ptr[0] = 0
    return Connectivity(shape, row_ptr, row_ptr.new_zeros(1)).to(device)


def _config(folder: Path) -> dict[str, Any]:
    """Return what config.json says, or raise ValueError."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no saved sparse model: it has no {CONFIG}")
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict) or config.get("kind") != _KIND:
        raise ValueError(f"{path} describes no {_KIND}: save one with save_pretrained")
    if config.get("version") != _VERSION:
        version = config.get("version")
        raise ValueError(f"{path} is of version {version}; this library reads {_VERSION}")
    for name, kind in (("layers", dict), ("attention", list), ("shared", dict)):
        if not isinstance(config.get(name), kind):
            raise ValueError(f"{path}: {name} is missing, or no {kind.__name__}")
    for name, about in config["layers"].items():
        if not isinstance(about, dict) or about.keys() != {"kind", "shape", "format"}:
            raise ValueError(f"{path}: layer {name!r} must have kind, shape and format")
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    _need_safetensors()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no saved sparse model: it has no {path.name}")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or cut: {error}") from error
    return tensors


def _need_safetensors() -> None:
    if find_spec("safetensors") is None:
        raise ImportError("models in folders need safetensors: pip install safetensors")


def _write(path: Path, data: bytes) -> None:
    half = path.with_name(f"{path.name}.tmp")
    try:
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
