"""Attention to sparse and back: each of its four projections is a layer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor, nn

from sparselayers import dense
from sparselayers.attention import PROJECTIONS, SparseMultiheadAttention

Convert = Callable[[nn.Module, Tensor | None], nn.Module]


def is_attention(layer: nn.Module) -> bool:
    """Return whether its projections can be layers, or are."""
    return isinstance(layer, SparseMultiheadAttention) or dense.is_plain(
        layer, nn.MultiheadAttention
    )


def converted(
    layer: nn.Module, convert: Convert, masks: Mapping[str, Tensor], *, to_dense: bool
) -> nn.Module:
    """Return attention whose projections are what `convert(projection, mask)` makes of them.

    `masks` are by name of the projection. A projection of zeros stays dense. With `to_dense` an
    nn.MultiheadAttention.

    Raises what `convert` raises, after the name of the projection.
    """
    masks = pruning_masks(layer) | dict(masks)
    opened = _opened(layer)
    projections = []
    for name in PROJECTIONS:
        old = getattr(opened, name)
        try:
            projections.append(convert(old, masks.get(name)))
        except dense.NothingLeft:
            if name in masks:
                raise
            projections.append(old)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
    new = rebuilt(opened, projections)
    return new.to_dense() if to_dense else new


def rebuilt(
    layer: SparseMultiheadAttention, projections: list[nn.Module]
) -> SparseMultiheadAttention:
    """Return such attention with other projections; `layer` is unchanged."""
    new = SparseMultiheadAttention(
        layer.num_heads,
        *projections,
        dropout=layer.dropout,
        batch_first=layer.batch_first,
        add_zero_attn=layer.add_zero_attn,
        bias_k=layer.bias_k,
        bias_v=layer.bias_v,
    )
    return dense.follow_rest(new, layer, but=PROJECTIONS)


def pruning_masks(layer: nn.Module) -> dict[str, Tensor]:
    """Return the masks with which torch.nn.utils.prune prunes the projections, by name."""
    masks = {
        name: getattr(layer, f"{name}_weight_mask").bool()
        for name in PROJECTIONS[:3]
        if hasattr(layer, f"{name}_weight_mask")
    }
    whole = getattr(layer, "in_proj_weight_mask", None)
    if isinstance(whole, Tensor):
        masks |= dict(zip(PROJECTIONS, whole.bool().chunk(3), strict=False))
    if isinstance(layer, nn.MultiheadAttention):
        out = dense.pruning_mask(layer.out_proj)
        masks |= {} if out is None else {"out_proj": out}
    return masks


def _opened(layer: nn.Module) -> SparseMultiheadAttention:
    if isinstance(layer, nn.MultiheadAttention):
        return SparseMultiheadAttention.from_dense(layer)
    return cast(SparseMultiheadAttention, layer)
