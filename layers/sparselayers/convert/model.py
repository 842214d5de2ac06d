"""convert_model: all layers of a kind in a model, at any depth."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict, TypeVar

from torch import Tensor, nn

from sparselayers import structures
from sparselayers.attention import PROJECTIONS, SparseMultiheadAttention
from sparselayers.convert import ties
from sparselayers.convert.attention import is_attention, rebuilt
from sparselayers.convert.copies import replaced
from sparselayers.convert.layer import Target, convert, convert_attention
from sparselayers.dense import NothingLeft, is_plain
from sparselayers.structures import Structure

Model = TypeVar("Model", bound=nn.Module)
Skip = Iterable[str] | Callable[[str, nn.Module], bool]


def convert_model(
    model: Model,
    layer_type: type[nn.Module] | tuple[type[nn.Module], ...],
    target: Target,
    *,
    masks: Mapping[str, Tensor] | None = None,
    keep_zeros: bool = False,
    sparsity: float | None = None,
    structure: Structure | str | None = None,
    skip: Skip = (),
    inplace: bool = False,
) -> Model:
    """Return a copy of `model` in which all modules of `layer_type` are converted to `target`.

    `target`, `keep_zeros`, `sparsity` and `structure` are those of `convert`; `masks` gives the
    masks of layers by their path, as `named_modules` has it. `skip` leaves layers alone: paths of
    them, or of modules that they are in, or a function of path and layer. With `inplace` the model
    itself is changed and returned, all of it or nothing; optimizers made before hold the old
    parameters.

    A module that is used in several places is converted once and stays shared. Attention is a type
    of its own: nn.MultiheadAttention becomes a SparseMultiheadAttention, whose projections
    `q_proj`, `k_proj`, `v_proj` and `out_proj` are layers, by whose paths masks are given; it
    becomes an nn.MultiheadAttention again when all of them are dense. Otherwise layers inside of
    nn.MultiheadAttention stay as they are, for it reads their weight itself. So, with a warning, do
    layers whose weights are all zero, and those that share their weight with a module that is not
    converted, such as an embedding. A weight that several converted layers share becomes one of
    each, with a warning.

    Raises ValueError or TypeError as `convert` does, naming the module's path, for a mask of no
    layer, for a path in `skip` that is no module with such a layer, and where nothing is of
    `layer_type`; `model` is unchanged then.
    """
    masks = dict(masks or {})
    asked = None if structure is None else structures.named(structure)
    how = _How(keep_zeros=keep_zeros, sparsity=sparsity, structure=asked)
    new: dict[nn.Module, nn.Module] = {}
    zero: list[str] = []
    private = private_modules(model)
    skipped = to_skip(model, layer_type, skip)
    tied = ties.outside(model, layer_type)
    for path, module in model.named_modules():
        if isinstance(module, layer_type) and module not in private and module not in skipped:
            if module in tied:
                warnings.warn(f"{path} {tied[module]}: left as it is", stacklevel=2)
                continue
            mask = masks.pop(path, None)
            try:
                if is_attention(module) and mask is None:
                    own = {n: masks.pop(k) for n in PROJECTIONS if (k := f"{path}.{n}") in masks}
                    new[module] = convert_attention(module, target, own, **how)
                else:
                    new[module] = convert(module, target, mask=mask, **how)
            except (TypeError, ValueError) as error:
                if isinstance(error, NothingLeft) and mask is None:
                    zero.append(path)
                    continue
                raise type(error)(f"{path or 'the model itself'}: {error}") from error
    if masks:
        raise ValueError(f"no layer that is converted is called {next(iter(masks))!r}")
    if not new and not zero and not skipped and not tied:
        raise ValueError(f"the model has no layer of type {_names(layer_type)}")
    if zero:
        warnings.warn(
            f"all weights are zero of {', '.join(path or 'the model itself' for path in zero)}: "
            "left as it is",
            stacklevel=2,
        )
    if target == "dense":
        _close(model, new)
    return replace_modules(model, new, inplace=inplace)


class _How(TypedDict):
    keep_zeros: bool
    sparsity: float | None
    structure: Structure | None


def _close(model: nn.Module, new: dict[nn.Module, nn.Module]) -> None:
    """Let attention whose projections all become dense be an nn.MultiheadAttention."""
    for module in model.modules():
        if isinstance(module, SparseMultiheadAttention) and module not in new:
            projections = [getattr(module, name) for name in PROJECTIONS]
            after = [new.get(layer, layer) for layer in projections]
            if after != projections and all(is_plain(layer, nn.Linear) for layer in after):
                new[module] = rebuilt(module, after).to_dense()


def replace_modules(
    model: Model, new: Mapping[nn.Module, nn.Module], *, inplace: bool = False
) -> Model:
    """Return `model`, or a copy of it, in which `new[module]` stands wherever `module` did.

    Only what is not replaced is copied. Tensors that a forward pass has left somewhere in the
    model are copied without their history.

    Raises ValueError where the model itself is to be replaced in place.
    """
    _warn_of_shared_parameters(model, new)
    return replaced(model, new, inplace=inplace)


def to_skip(
    model: nn.Module,
    kinds: type[nn.Module] | tuple[type[nn.Module], ...],
    skip: Skip,
    *,
    more: Mapping[str, nn.Module] | None = None,
) -> set[nn.Module]:
    """Return the modules of these kinds, and of `more` by path, that `skip` says to leave alone.

    Raises TypeError for what is neither paths nor a function, and ValueError for a path without.
    """
    every = [
        (path, module)
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, kinds)
    ]
    every += (more or {}).items()
    if callable(skip):
        return {module for path, module in every if skip(path, module)}
    paths = [skip] if isinstance(skip, str) else [*skip] if isinstance(skip, Iterable) else [skip]
    if not all(isinstance(path, str) for path in paths):
        raise TypeError(f"skip must be paths of modules, or a function of both, got {skip!r}")
    chosen: set[nn.Module] = set()
    for name in paths:
        found = {m for path, m in every if path == name or path.startswith(f"{name}.")}
        if not found:
            raise ValueError(f"the model has no {_names(kinds)} {name!r} to skip")
        chosen |= found
    return chosen


def private_modules(model: nn.Module) -> set[nn.Module]:
    """The modules whose parents do not call them, but read their parameters."""
    return {
        child
        for module in model.modules()
        if isinstance(module, _READERS)
        for child in module.modules()
        if child is not module
    }


# LinearCrossEntropyLoss is new in PyTorch 2.14.
_READERS = tuple(
    getattr(nn, name)
    for name in ("MultiheadAttention", "LinearCrossEntropyLoss")
    if hasattr(nn, name)
)


def _warn_of_shared_parameters(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    owners: dict[nn.Parameter, list[tuple[str, nn.Module]]] = {}
    for path, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(parameter, []).append((path, module))
    for several in owners.values():
        if len(several) > 1 and any(module in new for _, module in several):
            warnings.warn(
                f"{' and '.join(path for path, _ in several)} share a parameter, "
                "which becomes one of each",
                stacklevel=4,
            )


def _names(layer_type: type[nn.Module] | tuple[type[nn.Module], ...]) -> str:
    types = layer_type if isinstance(layer_type, tuple) else (layer_type,)
    return " or ".join(kind.__name__ for kind in types)
