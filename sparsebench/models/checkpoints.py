"""The weights of a model from a file: tensors alone, whatever wrote them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.cases.weights import checkpoints
from sparsebench.cases.weights.tensors import Tensors, weights_of
from sparsebench.errors import InputError

_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile


def restore(model: nn.Module, path: Path) -> None:
    """Load the weights in `path` into `model`.

    A file of torch.save or safetensors with a state dict, alone or in a training's state, or a
    folder of Hugging Face with its shards. `NAME_orig` and `NAME_mask`, as torch.nn.utils.prune
    leaves them, are one weight. Of tied parameters one is enough. Nothing in a file is executed.

    Raises InputError, naming the file, where there is none, it is cut or holds pickled code, and
    where it does not fit the model; the model is unchanged then.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    read = checkpoints.open_folder if path.is_dir() else checkpoints.open_file
    state = _state(read(path))
    if not state:
        raise InputError(f"{path}: holds no state dict, nor one in a training's state")
    here = model.state_dict(keep_vars=True)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    _check(path, here, state)
    model.load_state_dict(state, strict=False)


def _state(tensors: Tensors) -> dict[str, Tensor]:
    state = {}
    for name in weights_of(tensors):
        if name in tensors:
            state[name] = tensors[name]()
        else:
            weight = tensors[f"{name}_orig"]()
            state[name] = weight * tensors[f"{name}_mask"]().to(weight.dtype)
    return state


def _check(path: Path, here: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise InputError for the first tensor that is missing, too many, or of another shape."""
    given = {id(here[name]) for name in state if name in here}
    for name, tensor in here.items():
        if not isinstance(tensor, Tensor) or (id(tensor) in given and name not in state):
            continue
        if name not in state:
            raise InputError(f"{path}: has no tensor {name}, which the model has")
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{path}, tensor {name}: has shape {tuple(state[name].shape)}, and the model's "
                f"{tuple(tensor.shape)}"
            )
        if not torch.isfinite(state[name]).all():
            raise InputError(f"{path}, tensor {name}: holds numbers that are not finite")
    more = [name for name in state if name not in here]
    if more:
        raise InputError(f"{path}: has a tensor {more[0]}, which the model does not have")
