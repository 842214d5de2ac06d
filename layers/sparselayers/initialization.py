"""How the weights and the bias of a new layer are drawn."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Init = Literal["linear", "fan_in"]


def check_init(name: str) -> None:
    """Raise ValueError where `name` is no Init."""
    if name not in get_args(Init):
        raise ValueError(f"init must be one of {', '.join(get_args(Init))}, got {name!r}")


def by_inputs(
    weights: Tensor, bias: Tensor | None, inputs: int, generator: torch.Generator | None
) -> None:
    """Fill `weights` (nnz,) and `bias` (out,) from U(−1/√n, 1/√n), n the inputs of the layer."""
    _uniform(weights, inputs**-0.5, generator)
    _uniform(bias, inputs**-0.5, generator)


def by_connections(
    weights: Tensor, bias: Tensor | None, row_ptr: Tensor, generator: torch.Generator | None
) -> None:
    """Fill them likewise, with n the connections that the output has, as `row_ptr` (out + 1,)."""
    connections = row_ptr.diff()
    bound = connections.clamp(min=1).float().rsqrt()
    of_each = bound.repeat_interleave(connections, output_size=weights.numel())
    _uniform(weights, of_each, generator)
    _uniform(bias, bound, generator)


def _uniform(
    parameter: Tensor | None, bound: Tensor | float, generator: torch.Generator | None
) -> None:
    """Fill `parameter` from U(−bound, bound), drawing where the generator is."""
    if parameter is None:
        return
    device = parameter.device if generator is None else generator.device
    drawn = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    drawn.uniform_(-1.0, 1.0, generator=generator)
    with torch.no_grad():
        parameter.copy_(drawn).mul_(bound)
