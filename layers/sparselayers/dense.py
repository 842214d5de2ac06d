"""What is in a dense layer: its weight, however that is made, and the connections in it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _WrappedHook
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from sparselayers.connectivity import Connectivity
from sparselayers.topologies import from_mask

Module = TypeVar("Module", bound=nn.Module)

# What is called around a layer; registered by key in these dictionaries of the module.
HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class NothingLeft(ValueError):  # noqa: N818
    """A layer has no weight that is not zero."""


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether `layer` is of `kind`, perhaps parametrized, and computes as `kind` does."""
    own = parametrize.type_before_parametrizations(layer)
    return issubclass(own, kind) and own.forward is kind.forward


def parameters_of(layer: nn.Module, kind: type[nn.Module]) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a dense layer of `kind` as its next forward would use them.

    Those of torch.nn.utils.prune (while its hooks live) and of torch.nn.utils.parametrize are
    computed; the layer is left as it is.

    Raises TypeError for another type of layer, one with a forward of its own, and one whose weight
    is made by other hooks; ValueError for a layer without data.
    """
    if not is_plain(layer, kind):
        raise TypeError(
            f"expected a {kind.__name__}, got a {type(layer).__name__}"
            + (" with a forward of its own" if isinstance(layer, kind) else "")
        )
    with torch.no_grad():
        weight, bias = (value(layer, name) for name in ("weight", "bias"))
    if weight is None or weight.is_meta:
        raise ValueError(f"the {kind.__name__} is on the meta device: its weight has no data")
    return weight, bias


def pruning_mask(layer: nn.Module) -> Tensor | None:
    """Return the mask of a layer that torch.nn.utils.prune is pruning, as booleans, or None."""
    mask = getattr(layer, "weight_mask", None)
    return mask.bool() if isinstance(mask, Tensor) and hasattr(layer, "weight_orig") else None


def connections(
    weight: Tensor, mask: Tensor | None, *, keep_zeros: bool
) -> tuple[Connectivity, Tensor]:
    """Return the connections in a dense weight (out, in, …), under `mask`, and their values.

    Raises ValueError for a mask of another shape or type, and where there is no connection.
    """
    check_mask(mask, (weight.shape,))
    there = torch.ones_like(weight, dtype=torch.bool) if keep_zeros else weight != 0
    if mask is not None:
        there &= mask.to(weight.device)
    if not bool(there.any()):
        raise NothingLeft(
            f"no connection remains of a weight of shape {tuple(weight.shape)}: "
            + ("all weights are zero" if mask is None else "all weights under the mask are zero")
        )
    there = there.flatten(1)
    return from_mask(there), weight.flatten(1)[there]


def check_mask(mask: Tensor | None, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raise ValueError where `mask` is no boolean tensor of one of the shapes."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask must be a boolean tensor, got {given}")
    if tuple(mask.shape) not in [tuple(shape) for shape in shapes]:
        allowed = " or ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"mask must have the weight's shape {allowed}, got {tuple(mask.shape)}")


def follow(new: Module, old: nn.Module, weights: tuple[str, str]) -> Module:
    """Give `new` what is `old`'s beside its weights, and return it.

    Hooks (of calls, gradients and state dicts), training flag, `requires_grad`, and attributes,
    buffers and submodules that layers of the kind do not have by themselves; attributes of the
    parameters too. `weights` are the names of the weights in both. What torch.nn.utils added stays
    behind: it is in the weights.
    """
    for mine, others in (weights, ("bias", "bias")):
        parameter = getattr(new, mine)
        if isinstance(parameter, nn.Parameter):
            source = original(old, others)
            parameter.requires_grad_(source is None or source.requires_grad)
            vars(parameter).update({} if source is None else vars(source))
    return follow_rest(new, old)


def follow_rest(new: Module, old: nn.Module, *, but: tuple[str, ...] = ()) -> Module:
    """Give `new` all of `follow` beside what is of parameters; not buffers and modules in `but`."""
    new.train(old.training)
    for name in HOOKS:
        hooks: Any = getattr(new, name)
        for key, hook in getattr(old, name).items():
            if not _is_of_torch(hook):
                hooks[key] = _rebound(hook, old, new)
    new._is_full_backward_hook = old._is_full_backward_hook
    for kind in ("_buffers", "_modules"):
        for name, value in vars(old)[kind].items():
            if name not in (*OWN, *but, "parametrizations", *_MASKS):
                vars(new)[kind].setdefault(name, copy.deepcopy(value))
    new._non_persistent_buffers_set |= old._non_persistent_buffers_set & new._buffers.keys()
    for name in extras(old):
        vars(new).setdefault(name, vars(old)[name])
    return new


def forget_hooks(layer: nn.Module) -> None:
    """Remove all hooks of a layer but those that compute or load its weight."""
    for name in HOOKS:
        hooks: Any = getattr(layer, name)
        for key in [key for key, hook in hooks.items() if not _is_of_torch(hook)]:
            del hooks[key]


def extras(layer: nn.Module) -> tuple[str, ...]:
    """Return the names of the attributes that somebody else has given to the layer."""
    bare = {parameter for kind in type(layer).__mro__ for parameter in _arguments(kind)}
    return tuple(vars(layer).keys() - vars(nn.Module()).keys() - bare - OWN)


# What sparse layers keep beside the arguments of their constructors, and what is computed.
OWN = frozenset(
    (
        *("shape", "init", "backend", "format", "_connections", "topology_id"),
        *("dynamic", "max_size", "_rewirer"),
        *("_reversed_padding_repeated_twice", "output_padding", "transposed"),
        *("weight", "bias"),
        # Of attention.
        *("head_dim", "_qkv_same_embed_dim", "bias_k", "bias_v"),
    )
)

_MASKS = tuple(
    f"{name}_mask"
    for name in (
        *("weight", "bias", "in_proj_weight", "in_proj_bias"),
        *("q_proj_weight", "k_proj_weight", "v_proj_weight"),
    )
)


def _arguments(kind: type) -> Iterable[str]:
    if not issubclass(kind, nn.Module) or "__init__" not in vars(kind):
        return ()
    ours = kind.__module__.startswith(("torch.", "sparselayers."))
    return inspect.signature(kind.__init__).parameters if ours else ()


def _is_of_torch(hook: Any) -> bool:
    """Whether a hook is there to compute or to load a weight that is parametrized."""
    function = getattr(hook, "hook", hook)  # PyTorch wraps those that get the module
    named = function if hasattr(function, "__qualname__") else type(function)
    of_torch = (getattr(named, "__module__", None) or "").startswith("torch.nn.utils.")
    return isinstance(hook, BasePruningMethod) or of_torch


def _rebound(hook: Any, old: nn.Module, new: nn.Module) -> Any:
    """Return the hook as `new` has it: those that get the module hold it."""
    if not isinstance(hook, _WrappedHook):
        return hook
    return _WrappedHook(hook.hook, new if hook.with_module else None)


def value(layer: nn.Module, name: str) -> Tensor | None:
    """The value of a parameter, from what it is computed of."""
    if hasattr(layer, f"{name}_orig") and hasattr(layer, f"{name}_mask"):
        pruned: Tensor = getattr(layer, f"{name}_orig") * getattr(layer, f"{name}_mask")
        return pruned
    if not parametrize.is_parametrized(layer, name) and name not in layer._parameters:
        raise TypeError(
            f"the {name} of this {type(layer).__name__} is made by a hook that is not known here: "
            f"remove it first (for torch.nn.utils.weight_norm: remove_weight_norm)"
        )
    tensor = getattr(layer, name)
    return None if tensor is None else tensor.detach()


def original(layer: nn.Module, name: str) -> Tensor | None:
    """The parameter that a weight is, or is computed of."""
    for candidate in (f"{name}_orig", name):
        if isinstance(tensor := getattr(layer, candidate, None), Tensor):
            return tensor
    return None
