"""SparseMultiheadAttention: nn.MultiheadAttention whose projections are layers, sparse or dense."""

from __future__ import annotations

import math
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparselayers import dense
from sparselayers.linear import SparseLinear
from sparselayers.weight import SparseWeight

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


class SparseMultiheadAttention(nn.Module):
    """Attend as nn.MultiheadAttention does, with the same arguments, masks and outputs.

    Where nn.MultiheadAttention keeps the weights of its projections of queries, keys and values in
    one parameter, this one calls four layers, `q_proj`, `k_proj`, `v_proj` and `out_proj`: each is
    a SparseLinear or an nn.Linear, and can be pruned, rewired and converted by itself.
    `from_dense` makes one of an nn.MultiheadAttention, `to_dense` is the way back.

    Raises ValueError where heads do not divide the layers' outputs.
    """

    # nn.TransformerEncoderLayer asks, and keeps away from its fused inference.
    _qkv_same_embed_dim = False

    def __init__(
        self,
        num_heads: int,
        q_proj: nn.Module,
        k_proj: nn.Module,
        v_proj: nn.Module,
        out_proj: nn.Module,
        *,
        dropout: float = 0.0,
        batch_first: bool = False,
        add_zero_attn: bool = False,
        bias_k: Tensor | None = None,
        bias_v: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = cast(int, q_proj.out_features)
        if num_heads < 1 or self.embed_dim % num_heads:
            raise ValueError(f"num_heads = {num_heads} must divide {self.embed_dim}")
        self.num_heads, self.head_dim = num_heads, self.embed_dim // num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.add_zero_attn = add_zero_attn
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = q_proj, k_proj, v_proj, out_proj
        self.bias_k = None if bias_k is None else nn.Parameter(bias_k.detach().clone())
        self.bias_v = None if bias_v is None else nn.Parameter(bias_v.detach().clone())

    @classmethod
    def from_dense(cls, layer: nn.Module) -> SparseMultiheadAttention:
        """Return one that computes the same, with four dense layers of weights of their own.

        `convert` and `convert_model` then make those sparse. Masks of torch.nn.utils.prune and
        parametrizations become part of the weights; hooks, attributes and flags follow.

        Raises TypeError for another layer, or one with a forward of its own, and ValueError for
        one on the meta device.
        """
        if not dense.is_plain(layer, nn.MultiheadAttention):
            raise TypeError(f"expected a MultiheadAttention, got a {type(layer).__name__}")
        mha = cast(nn.MultiheadAttention, layer)
        weights, biases = _projections(mha)
        out = SparseLinear.from_dense(mha.out_proj, keep_zeros=True).to_dense()
        new = cls(
            mha.num_heads,
            _linear(weights[0], biases[0], mha),
            _linear(weights[1], biases[1], mha),
            _linear(weights[2], biases[2], mha),
            out,
            dropout=mha.dropout,
            batch_first=mha.batch_first,
            add_zero_attn=mha.add_zero_attn,
            bias_k=mha.bias_k,
            bias_v=mha.bias_v,
        )
        return dense.follow_rest(new, mha, but=PROJECTIONS)

    @classmethod
    def shaped(cls, layer: nn.MultiheadAttention) -> SparseMultiheadAttention:
        """Return one of the sizes of `layer`, with numbers that are still to be loaded."""
        width, bias = layer.embed_dim, layer.in_proj_bias is not None
        new = cls(
            layer.num_heads,
            nn.Linear(width, width, bias, device="meta"),
            nn.Linear(layer.kdim, width, bias, device="meta"),
            nn.Linear(layer.vdim, width, bias, device="meta"),
            nn.Linear(width, width, bias, device="meta"),
            dropout=layer.dropout,
            batch_first=layer.batch_first,
            add_zero_attn=layer.add_zero_attn,
            bias_k=layer.bias_k,
            bias_v=layer.bias_v,
        )
        new.to_empty(device=layer.out_proj.weight.device)
        return dense.follow_rest(new, layer, but=PROJECTIONS)

    def to_dense(self) -> nn.MultiheadAttention:
        """Return the nn.MultiheadAttention that computes the same.

        Raises TypeError where a projection is neither a SparseLinear nor an nn.Linear.
        """
        *layers, out = (_as_dense(getattr(self, name)) for name in PROJECTIONS)
        new = nn.MultiheadAttention(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            bias=layers[0].bias is not None,
            add_bias_kv=self.bias_k is not None,
            add_zero_attn=self.add_zero_attn,
            kdim=layers[1].in_features,
            vdim=layers[2].in_features,
            batch_first=self.batch_first,
            device="meta",
        )
        weights = [layer.weight.detach() for layer in layers]
        trained = any(layer.weight.requires_grad for layer in layers)
        if new._qkv_same_embed_dim:
            new.in_proj_weight = nn.Parameter(torch.cat(weights), trained)
        else:
            for name, weight in zip(PROJECTIONS, weights, strict=False):
                setattr(new, f"{name}_weight", nn.Parameter(weight.clone(), trained))
        if layers[0].bias is not None:
            biases = torch.cat([layer.bias.detach() for layer in layers])
            new.in_proj_bias = nn.Parameter(biases, layers[0].bias.requires_grad)
        for name in ("weight", "bias"):
            value = getattr(out, name)
            if value is not None:
                value = nn.Parameter(value.detach().clone(), value.requires_grad)
            setattr(new.out_proj, name, value)
        for name in ("bias_k", "bias_v"):
            value = getattr(self, name)
            if value is not None:
                setattr(new, name, nn.Parameter(value.detach().clone(), value.requires_grad))
        return dense.follow_rest(new, self, but=PROJECTIONS)

    @property
    def in_proj_weight(self) -> Tensor:
        """The three projections' weights one below the other, made when somebody computes with it.

        For nn.TransformerEncoder, which asks what it is, but does not compute with it.
        """
        layers = self.q_proj, self.k_proj, self.v_proj
        values = cast(Tensor, next(self.q_proj.parameters()))
        return SparseWeight.of(values.view(-1), partial(_stacked, layers), {})

    @property
    def in_proj_bias(self) -> Tensor | None:
        """The three projections' biases, one behind the other, or None."""
        biases = [layer.bias for layer in (self.q_proj, self.k_proj, self.v_proj)]
        return None if biases[0] is None else torch.cat(cast(list[Tensor], biases))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return output and attention weights (None unless needed), as nn.MultiheadAttention.

        Raises ValueError for `is_causal` without an `attn_mask`.
        """
        if is_causal and attn_mask is None:
            raise ValueError("is_causal is a hint about attn_mask: give that too")
        batched = query.dim() == 3
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if not batched:
            q, k, v = q[None], k[None], v[None]
        elif not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        k, v = self._extended(k, self.bias_k), self._extended(v, self.bias_v)
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        mask = self._mask(q, k, attn_mask, key_padding_mask)
        dropout = self.dropout if self.training else 0.0
        shares = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
            shares = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            shares = F.dropout(shares, dropout, training=self.training)
            y = shares @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        y = y.transpose(1, 2).flatten(2)
        if not batched:
            y = y[0]
        elif not self.batch_first:
            y = y.transpose(0, 1)
        if shares is not None:
            shares = shares.mean(dim=1) if average_attn_weights else shares
            shares = shares if batched else shares[0]
        return self.out_proj(y), shares

    def _extended(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return keys or values (N, S, E) with those that are learned, and with zeros."""
        if bias is not None:
            x = torch.cat((x, bias.expand(x.shape[0], 1, -1)), dim=1)
        return F.pad(x, (0, 0, 0, 1)) if self.add_zero_attn else x

    def _heads(self, x: Tensor) -> Tensor:
        """Return (N, length, E) as (N, heads, length, E / heads)."""
        return x.reshape(*x.shape[:-1], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(
        self, q: Tensor, k: Tensor, attn_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor | None:
        """Return what is added to the scores (N, heads, L, S), or None."""
        mask = None
        if attn_mask is not None:
            mask = _added(attn_mask, q.dtype)
            if mask.dim() == 3:
                mask = mask.view(-1, self.num_heads, *mask.shape[1:])
        if padding is not None:
            given = _added(padding, q.dtype).view(-1, 1, 1, padding.shape[-1])
            mask = given if mask is None else mask + given
        if mask is None:
            return None
        return F.pad(mask, (0, k.shape[-2] - mask.shape[-1]))  # learned keys are always seen


def _projections(layer: nn.MultiheadAttention) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return the weights and biases of the projections of queries, keys and values."""
    if layer._qkv_same_embed_dim:
        weights = [*cast(Tensor, dense.value(layer, "in_proj_weight")).chunk(3)]
    else:
        weights = [cast(Tensor, dense.value(layer, f"{n}_weight")) for n in PROJECTIONS[:3]]
    bias = dense.value(layer, "in_proj_bias")
    if any(weight.is_meta for weight in weights):
        raise ValueError("the MultiheadAttention is on the meta device: its weight has no data")
    return weights, [None] * 3 if bias is None else [*bias.chunk(3)]


def _linear(weight: Tensor, bias: Tensor | None, layer: nn.MultiheadAttention) -> nn.Linear:
    new = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    one = "in_proj" if layer._qkv_same_embed_dim else "q_proj"
    trained = dense.original(layer, f"{one}_weight")
    new.weight = nn.Parameter(weight.detach().clone(), trained is None or trained.requires_grad)
    if bias is not None:
        trained = dense.original(layer, "in_proj_bias")
        new.bias = nn.Parameter(bias.detach().clone(), trained is None or trained.requires_grad)
    return new.train(layer.training)


def _as_dense(layer: nn.Module) -> nn.Linear:
    new = layer.to_dense() if isinstance(layer, SparseLinear) else layer
    if not isinstance(new, nn.Linear):
        raise TypeError(f"expected a Linear as projection, got a {type(layer).__name__}")
    return new


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask, boolean (True is left out) or of numbers, as what is added to scores."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(
            mask, -torch.inf
        )
    return mask.to(dtype)


def _stacked(layers: tuple[nn.Module, ...]) -> Tensor:
    weights = [cast(Tensor, layer.weight) for layer in layers]
    return torch.cat([w.to_dense() if isinstance(w, SparseWeight) else w for w in weights])
