"""Linear layers that keep their weight as (in, out): Conv1D of transformers, as in GPT-2."""

from __future__ import annotations

import sys
from typing import Any, cast

from torch import Tensor, nn

from sparselayers import dense


def kinds() -> tuple[type[nn.Module], ...]:
    """Return transformers' Conv1D where somebody has imported it: nobody else has such layers."""
    kind = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)
    return () if kind is None else (kind,)


def is_transposed(layer: nn.Module) -> bool:
    """Return whether `layer` is such a layer, and computes as those do."""
    return any(dense.is_plain(layer, kind) for kind in kinds())


def as_linear(layer: nn.Module) -> nn.Module:
    """Return an nn.Linear that computes what such a layer does; other layers as they are.

    Raises ValueError for a layer on the meta device.
    """
    if not is_transposed(layer):
        return layer
    weight, bias = (cast(Tensor, dense.value(layer, name)) for name in ("weight", "bias"))
    if weight.is_meta:
        raise ValueError(f"the {type(layer).__name__} is on the meta device: no data")
    new: Any = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
    new.weight, new.bias = nn.Parameter(weight.t().contiguous()), nn.Parameter(bias.clone())
    new = dense.follow(new, layer, ("weight", "weight"))
    vars(new).pop("nf", None)
    vars(new).pop("nx", None)
    return cast(nn.Module, new)
