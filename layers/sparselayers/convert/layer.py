"""convert: one layer from any of the formats to any other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sparselayers import structures
from sparselayers.conv import SparseConv2d
from sparselayers.conv1d import SparseConv1d
from sparselayers.convert import attention
from sparselayers.convert.transposed import as_linear, is_transposed
from sparselayers.dense import HOOKS, NothingLeft, check_mask, extras, follow, is_plain
from sparselayers.layer import SparseLayer
from sparselayers.linear import SparseLinear
from sparselayers.structures import Structure
from sparselayers.structures.conversion import pruned

Target = Literal["dense", "coo", "csr"]

SPARSE: tuple[type[SparseLayer], ...] = (SparseLinear, SparseConv2d, SparseConv1d)


def convert(
    layer: nn.Module,
    target: Target,
    *,
    mask: Tensor | None = None,
    keep_zeros: bool = False,
    sparsity: float | None = None,
    structure: Structure | str | None = None,
) -> nn.Module:
    """Return `layer` (a dense or sparse one of these) as `target`; it is unchanged.

    Linear, Conv1d, Conv2d and MultiheadAttention of torch.nn, and their sparse counterparts, are
    converted; so is Conv1D of transformers, which comes back as an nn.Linear. "dense" makes a
    layer of torch.nn; "coo" and "csr" make a sparse layer whose `weight` shows that layout. All of
    them train, and all sparse ones compute alike. Zeros are dropped unless `keep_zeros`; with
    `mask`, a boolean tensor of the weight's shape, weights outside it are dropped too. Hooks,
    attributes and buffers that were given to the layer, training flag, `requires_grad`, type and
    device follow; a mask of torch.nn.utils.prune and parametrizations become part of the weight.

    With `sparsity` the largest magnitudes stay; with a `structure`, or its name such as "8x1", in
    its units, whole, with zeros in them (see `SparseLayer.from_dense`). Of a sparse layer only
    units that it has as a whole can stay.

    Raises ValueError for an unknown target, a mask of the wrong shape or type or beside a sparsity,
    a structure that the layer cannot have or has not, and where no connection would be left;
    TypeError for a layer of another type.
    """
    if target not in get_args(Target):
        raise ValueError(f"target must be one of {', '.join(get_args(Target))}, got {target!r}")
    if attention.is_attention(layer):
        if mask is not None:
            raise ValueError("attention has four weights: give masks of its projections")
        return convert_attention(
            layer, target, {}, keep_zeros=keep_zeros, sparsity=sparsity, structure=structure
        )
    if is_transposed(layer):
        layer, mask = as_linear(layer), mask.t() if isinstance(mask, Tensor) else mask
    if isinstance(layer, SparseLayer):
        keeps = keep_zeros or structure is not None or target == "dense"
        chosen = _chosen(layer, mask, drop_zeros=not keeps)
        if sparsity is not None or structure is not None:
            _prune(chosen, sparsity, structures.named(structure), masked=mask is not None)
        if target == "dense":
            return chosen.to_dense()
        chosen.format = target
        return chosen
    for sparse in SPARSE:
        if is_plain(layer, sparse.dense_type):
            # From dense to dense as well: weights outside the mask become zero.
            there_and_back = target == "dense"
            new = sparse.from_dense(
                layer,
                mask=mask,
                keep_zeros=keep_zeros or there_and_back,
                format="coo" if target == "dense" else target,
                sparsity=sparsity,
                structure=structure,
            )
            return new.to_dense() if there_and_back else new
    raise TypeError(
        f"cannot convert a {type(layer).__name__}"
        + (" with a forward of its own" if is_convertible_kind(layer) else "")
        + ": expected Linear, Conv2d, SparseLinear, SparseConv2d, or Conv1d or MultiheadAttention"
    )


def convert_attention(
    layer: nn.Module,
    target: Target,
    masks: Mapping[str, Tensor],
    *,
    keep_zeros: bool,
    sparsity: float | None = None,
    structure: Structure | str | None = None,
) -> nn.Module:
    """Return attention with all its projections as `target`; `masks` are by their names."""

    def one(projection: nn.Module, mask: Tensor | None) -> nn.Module:
        return convert(
            projection,
            target,
            mask=mask,
            keep_zeros=keep_zeros,
            sparsity=sparsity,
            structure=structure,
        )

    return attention.converted(layer, one, masks, to_dense=target == "dense")


def is_convertible_kind(layer: nn.Module) -> bool:
    """Return whether the layer is derived from one that `convert` knows."""
    return isinstance(layer, tuple(sparse.dense_type for sparse in SPARSE))


def _chosen(layer: SparseLayer, mask: Tensor | None, *, drop_zeros: bool) -> SparseLayer:
    """Return a copy of a sparse layer with the connections that shall remain."""
    shapes: tuple[tuple[int, ...], ...] = (layer.shape,)
    if isinstance(layer, SparseConv2d):
        shapes = (layer.weight_shape, *shapes)
    check_mask(mask, shapes)
    # Hooks and attributes may hold whole models: they are the layer's own, not copies.
    memo: dict[int, Any] = {id(vars(layer)[name]): vars(layer)[name] for name in extras(layer)}
    memo |= {id(hooks): hooks.copy() for hooks in (getattr(layer, name) for name in HOOKS)}
    new = follow(copy.deepcopy(layer, memo), layer, ("weights", "weights"))
    connectivity, values = layer.connectivity, layer.weights.detach()
    keep = values != 0 if drop_zeros else torch.ones_like(values, dtype=torch.bool)
    if mask is not None:
        matrix = mask.to(values.device).view(layer.shape)
        keep &= matrix[connectivity.row.long(), connectivity.col.long()]
    if not bool(keep.any()):
        raise NothingLeft(f"no connection remains of a layer of shape {layer.shape}")
    if not bool(keep.all()):
        new.set_connections(connectivity.select(keep), values[keep])
    return new


def _prune(
    layer: SparseLayer, sparsity: float | None, structure: Structure, *, masked: bool
) -> None:
    """Leave of a layer what `structures.conversion.pruned` says."""
    connectivity, values = layer.connectivity, layer.weights.detach()
    keep = pruned(connectivity, values, sparsity, structure, masked=masked)
    if not bool(keep.all()):
        layer.set_connections(connectivity.select(keep), values[keep])
