"""The plainest calls of a layer: a matrix, and nobody who traces, transforms or casts.

What has to be asked before each product takes longer than a small product itself. Here it is asked
by the cheapest means there are, and each thing once. Whatever is not plain goes the long way
(functional.py), which knows what to do about it, or says what is wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from sparselayers import backends
from sparselayers.connections import Connections
from sparselayers.connectivity import Connectivity
from sparselayers.functional import differentiable

# Names of this module, for a look into torch._C takes as long as what is asked.
_transforms = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_is_recorded = torch._C._is_tracing
_casts = torch._C._is_any_autocast_enabled
_with_gradients = torch.is_grad_enabled


def product(
    x: Tensor,
    weights: Tensor | None,
    bias: Tensor | None,
    connections: Connections,
    mark: Tensor | None,
    backend: str | None,
) -> Tensor | None:
    """Return x Wᵀ + bias, (batch, out), of a plain call; None for any other, and for a wrong one.

    `weights` and `bias` are parameters of a layer with these `connections` and the buffer `mark`.
    """
    if (
        type(x) is not Tensor
        or type(weights) is not Parameter
        or mark is None
        or connections.watcher is not None
        or _transforms()
        or _modes() > 0
        or _is_recorded()
        or forward_ad._current_level >= 0
        or _casts()
    ):
        return None
    where = connections.undisturbed(mark)
    if where is None or not _fit(x, weights, bias, where):
        return None
    chosen = backends.select(where.device, x.dtype, backend).shortly(x, where)
    if _with_gradients() and (
        x.requires_grad or weights.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return differentiable(x, weights, bias, where, chosen, connections)
    return chosen.forward(x, weights, bias, where)


def _fit(x: Tensor, weights: Tensor, bias: Tensor | None, where: Connectivity) -> bool:
    """Whether these are plain memory of one device and type, and of the sizes of a layer."""
    outputs, inputs = where.shape
    dtype, is_cpu = x.dtype, where.is_cpu
    return (
        x.is_cpu is is_cpu
        and x.dim() == 2
        and x.shape[1] == inputs
        and not x.is_neg()
        and weights.is_cpu is is_cpu
        and weights.dtype is dtype
        and weights.dim() == 1
        and weights.numel() == where.nnz
        and weights.is_contiguous()
        and not weights.is_neg()
        and (
            bias is None
            or (
                type(bias) is Parameter
                and bias.is_cpu is is_cpu
                and bias.dtype is dtype
                and bias.dim() == 1
                and bias.numel() == outputs
                and bias.is_contiguous()
                and not bias.is_neg()
            )
        )
        and (is_cpu or _on_one_gpu(x, weights, bias, where.device))
    )


def _on_one_gpu(x: Tensor, weights: Tensor, bias: Tensor | None, device: torch.device) -> bool:
    """Whether these are memory of `device`, which is a GPU."""
    return (
        device.type == "cuda"
        and x.device == device
        and weights.device == device
        and (bias is None or bias.device == device)
    )
