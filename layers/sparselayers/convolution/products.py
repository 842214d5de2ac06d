"""The three products of a convolution, each computed in the way that serves it best."""

from __future__ import annotations

from torch import Tensor

from sparselayers import backends
from sparselayers.connectivity import Connectivity
from sparselayers.convolution import native, windows
from sparselayers.convolution.geometry import Geometry, Pair


def forward(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity,
    geometry: Geometry,
    backend: str | None,
) -> Tensor:
    """Return the convolution of `x` (N, channels, H, W), (N, out, H', W')."""
    chosen = backends.select(x.device, values.dtype, backend)
    if chosen.name == "native" and x.numel() and native.serves(x):
        y = native.forward(x, values, bias, connectivity, geometry)
        if y is not None:
            return y.to(x.dtype)
    return windows.forward(x, values, bias, connectivity, geometry, chosen)


def grad_input(
    dy: Tensor,
    values: Tensor,
    connectivity: Connectivity,
    geometry: Geometry,
    image: Pair,
    backend: str | None,
) -> Tensor:
    """Return the gradient of an input (N, channels, *image), from dy (N, out, H', W')."""
    chosen = backends.select(dy.device, values.dtype, backend)
    if chosen.name == "native" and dy.numel() and native.serves(dy):
        dx = native.grad_input(dy, values, connectivity, geometry, image)
        if dx is not None:
            return dx.to(dy.dtype)
    return windows.grad_input(dy, values, connectivity, geometry, image, chosen)


def grad_values(
    dy: Tensor, x: Tensor, connectivity: Connectivity, geometry: Geometry, backend: str | None
) -> Tensor:
    """Return the gradient of the values (nnz,)."""
    chosen = backends.select(x.device, x.dtype, backend)
    if chosen.name == "native" and x.numel() and native.serves(x):
        result = native.grad_values(dy, x, connectivity, geometry)
        if result is not None:
            return result.to(x.dtype)
    return windows.grad_values(dy, x, connectivity, geometry, chosen)
