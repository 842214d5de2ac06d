"""Checkpoints: safetensors, PyTorch's own files, and folders of Hugging Face with shards."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsebench.cases.weights.tensors import Tensors
from sparsebench.errors import InputError

# What a folder of Hugging Face has one of, and what tells where its shards are.
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = tuple(f"{name}.index.json" for name in _WHOLE)
_STATES = ("state_dict", "model_state_dict", "model", "module")
_NO_WEIGHTS = "optimizer"  # its averages have zeros too


def is_folder(path: Path) -> bool:
    """Return whether a folder holds one model of Hugging Face."""
    return any((path / name).is_file() for name in (*_WHOLE, *_INDEX))


def open_folder(path: Path) -> Tensors:
    """Return the tensors of a Hugging Face folder, all its shards together.

    Raises InputError, naming it, for a shard that is missing and an index that is none.
    """
    for whole, index in zip(_WHOLE, _INDEX, strict=True):
        if (path / index).is_file():
            return _sharded(path, path / index)
        if (path / whole).is_file():
            return open_file(path / whole)
    raise InputError(f"{path}: holds none of {', '.join((*_WHOLE, *_INDEX))}")


def open_file(path: Path) -> Tensors:
    """Return the tensors of a checkpoint; raises InputError for what is none."""
    return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)


def _sharded(path: Path, index: Path) -> Tensors:
    try:
        places: Any = json.loads(index.read_text("utf-8"))["weight_map"]
        shards = {str(name): str(shard) for name, shard in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: no index with a weight_map: {error!r}") from None
    opened: dict[str, Tensors] = {}
    for name, shard in shards.items():
        if Path(shard).name != shard or not (path / shard).is_file():
            raise InputError(f"{index}: tensor {name} is in {shard}, which is not in the folder")
        if shard not in opened:
            opened[shard] = open_file(path / shard)
        if name not in opened[shard]:
            raise InputError(f"{path / shard}: has no tensor {name}, which {index.name} says")
    return {name: opened[shard][name] for name, shard in shards.items()}


def _safetensors(path: Path) -> Tensors:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError(
            f"{path}: to read it safetensors is needed; install with: pip install safetensors"
        ) from None

    def tensor(name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:
            found: Tensor = file.get_tensor(name)
        return found

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no whole safetensors file: {error}") from None
    return {name: partial(tensor, name) for name in names}


def _torch(path: Path) -> Tensors:
    """Read the tensors of a file of torch.save; code that is pickled with them is never run."""
    mapped = zipfile.is_zipfile(path)  # what torch.save writes today, read where it is used
    try:
        with warnings.catch_warnings():  # about how a file was pickled
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {_refused(str(error))}") from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0].partition(". ")[0]
        raise InputError(f"{path}: no whole checkpoint of torch.save: {reason}") from None
    if isinstance(found, Tensor):
        return {"tensor": lambda: found}
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: holds {type(found).__name__}, not a state_dict of tensors")
    return dict(_flat(found, ""))


def _flat(state: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield the tensors of nested mappings by dotted names; of a training's state the model's."""
    for name in _STATES if not prefix else ():
        inner = state.get(name)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            yield from _flat(inner, "")
            return
    for name, value in state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", partial(_itself, value)
        elif isinstance(value, Mapping) and not str(name).startswith(_NO_WEIGHTS):
            yield from _flat(value, f"{prefix}{name}.")


def _itself(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _refused(why: str) -> str:
    """Say what of a pickle is not run, or that it is none."""
    if "invalid load key" in why or "magic number" in why:
        return "no checkpoint of torch.save"
    named = re.search(r"GLOBAL (\S+)", why)
    if named is None and "nsupported operand" in why:
        return "no checkpoint of torch.save"
    what = f" ({named[1]})" if named else ""
    return (
        f"holds pickled code{what}, which is never run: "
        "save the tensors alone, torch.save(model.state_dict(), path)"
    )
