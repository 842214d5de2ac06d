"""The matrices among a checkpoint's tensors, whatever its format: those that are sparse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

import sparselayers as sl
from sparsebench.cases.weights.matrix import Matrix, finite, of_entries
from sparsebench.errors import InputError

# A tensor by its name, read when it is called for: a checkpoint need not fit into memory.
Tensors = Mapping[str, Callable[[], Tensor]]

_WEIGHT, _MASK = "_orig", "_mask"  # torch.nn.utils.prune: NAME is NAME_orig · NAME_mask


def matrices(
    tensors: Tensors, place: str, *, only: str | None, min_sparsity: float
) -> Iterator[tuple[str, Matrix]]:
    """Yield the weights among `tensors` that are sparse, by their names; or the one called `only`.

    Weights are real tensors of two or four dimensions. Those whose share of zeros is below
    `min_sparsity` are left out, and so are those that are zero throughout.

    Raises InputError, naming the tensor, for a mask of another shape and for what is not finite,
    and where nothing is left.
    """
    seen: dict[str, str] = {}
    count = 0
    for name in weights_of(tensors):
        if only is not None and name != only:
            continue
        weight = _weight(tensors, name, place)
        if weight.dim() not in (2, 4) or not weight.is_floating_point():
            if only is not None:
                seen[name] = f"{tuple(weight.shape)} of {weight.dtype}"
            continue
        zeros = 1.0 - _nonzeros(weight) / max(1, weight.numel())
        if only is None and (zeros < min_sparsity or zeros == 1.0):
            seen[name] = f"{zeros:.1%} zeros"
            continue
        count += 1
        yield name, _matrix(weight, f"{place}, tensor {name}")
    if not count:
        raise InputError(_nothing(place, only, seen, min_sparsity))


def weights_of(tensors: Tensors) -> list[str]:
    """Return the names of `tensors`; of a weight that is being pruned the weight's, once."""
    names: dict[str, None] = {}
    for name in tensors:
        base = name.removesuffix(_WEIGHT).removesuffix(_MASK)
        pruned = base != name and {base + _WEIGHT, base + _MASK} <= tensors.keys()
        names[base if pruned else name] = None
    return list(names)


def _weight(tensors: Tensors, name: str, place: str) -> Tensor:
    if name in tensors:
        return tensors[name]()
    weight, mask = tensors[name + _WEIGHT](), tensors[name + _MASK]()
    if weight.shape != mask.shape:
        raise InputError(
            f"{place}, tensor {name}{_MASK}: has shape {tuple(mask.shape)}, and {name}{_WEIGHT} "
            f"has {tuple(weight.shape)}"
        )
    return weight * mask.to(weight.dtype)


def _nonzeros(weight: Tensor) -> int:
    if weight.layout != torch.strided:
        return int(weight._nnz())
    return int(torch.count_nonzero(weight))


def _matrix(weight: Tensor, place: str) -> Matrix:
    """Return the connections and values of a weight, (out, in) or (out, in, kernel, kernel)."""
    kernel = weight.shape[2] if weight.dim() == 4 and weight.shape[2] == weight.shape[3] else 0
    try:
        if weight.layout != torch.strided:
            entries: Tensor = weight.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
            row, col = entries.indices().numpy()
            connectivity, _ = of_entries((weight.shape[0], weight.shape[1]), row, col, None)
            return Matrix(connectivity, finite(entries.values(), place))
        matrix = weight.flatten(1)
        there = matrix != 0
        return Matrix(sl.from_mask(there), finite(matrix[there], place), kernel)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place}: {error}") from None


def _nothing(place: str, only: str | None, seen: Mapping[str, str], min_sparsity: float) -> str:
    found = ", ".join(f"{name} ({what})" for name, what in [*seen.items()][:8]) or "no tensor"
    if only is not None:
        return f"{place}: no weight {only!r} of two or four dimensions there: {found}"
    return (
        f"{place}: no weight of two or four dimensions has {min_sparsity:.0%} zeros or more, and "
        f"one that is not zero: {found}{', …' if len(seen) > 8 else ''}"
    )
