"""How the weights and the bias of a new layer are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

Init = Literal["linear", "fan_in", "kaiming", "lognormal"]


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
    weights: Tensor,
    bias: Tensor | None,
    row_ptr: Tensor,
    generator: torch.Generator | None,
    init: Init = "fan_in",
) -> None:
    """Fill them with n the connections that the output has, as `row_ptr` (out + 1,) has them.

    Weights uniformly, or as `init` says; the bias uniformly.
    """
    connections = row_ptr.diff()
    bound = connections.clamp(min=1).float().rsqrt()
    of_each = bound.repeat_interleave(connections, output_size=weights.numel())
    if init == "fan_in":
        _uniform(weights, of_each, generator)
    else:
        _fill(weights, generator, _DRAWS[init])
        with torch.no_grad():
            weights.mul_(of_each)
    _uniform(bias, bound, generator)


def _uniform(
    parameter: Tensor | None, bound: Tensor | float, generator: torch.Generator | None
) -> None:
    """Fill `parameter` from U(−bound, bound)."""
    if parameter is None:
        return
    _fill(parameter, generator, lambda drawn, generator: drawn.uniform_(-1, 1, generator=generator))
    with torch.no_grad():
        parameter.mul_(bound)


def _fill(
    parameter: Tensor,
    generator: torch.Generator | None,
    draw: Callable[[Tensor, torch.Generator | None], Tensor],
) -> None:
    """Fill `parameter`, drawing where the generator is."""
    device = parameter.device if generator is None else generator.device
    drawn = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    with torch.no_grad():
        parameter.copy_(draw(drawn, generator))


def _kaiming(drawn: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from N(0, 2), for weights that are divided by √n."""
    return drawn.normal_(0.0, 2.0**0.5, generator=generator)


def _lognormal(drawn: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw ±exp(N(μ, 1)) with variance 1/3: the mean square of exp(N(μ, σ²)) is exp(2μ + 2σ²)."""
    signs = torch.empty_like(drawn).uniform_(-1, 1, generator=generator).sign_()
    return drawn.log_normal_(-1.0 - 0.5 * math.log(3.0), 1.0, generator=generator).mul_(signs)


_DRAWS = {"kaiming": _kaiming, "lognormal": _lognormal}
