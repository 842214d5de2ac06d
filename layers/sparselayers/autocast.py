"""What `torch.autocast` asks of a layer."""

from __future__ import annotations

import torch
from torch import Tensor


def autocast(
    x: Tensor, values: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the arguments of a layer, cast as those of nn.Linear are where autocast is on."""
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return x, values, bias
    dtype = torch.get_autocast_dtype(device)
    return _cast(x, dtype), _cast(values, dtype), None if bias is None else _cast(bias, dtype)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast what autocast casts: every floating point type but float64."""
    if tensor.dtype == torch.float64 or not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype)
