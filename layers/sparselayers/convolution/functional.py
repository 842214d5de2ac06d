"""sparse_conv2d: the stateless form of SparseConv2d."""

from __future__ import annotations

from torch import Tensor

from sparselayers.autocast import autocast
from sparselayers.connections import Connections
from sparselayers.connectivity import Connectivity
from sparselayers.convolution import operators
from sparselayers.convolution.geometry import Geometry
from sparselayers.tracing import Arrays, is_jit


def sparse_conv2d(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity | Arrays,
    geometry: Geometry,
    *,
    backend: str | None = None,
    owner: Connections | None = None,
) -> Tensor:
    """Return the convolution of `x` with a sparse weight (out, channels / groups · Π kernel).

    `x` is (N, channels, H, W) or (channels, H, W), in any memory format; `values` (nnz,) are the
    weights at `connectivity`, `bias` is (out,) or None; the result is (N, out, H', W') or
    (out, H', W'). `backend` names one of `sparselayers.backends.BACKENDS`; by default the fastest
    that serves the device and the type. Under autocast the arguments are cast as nn.Conv2d's are.
    `owner` is the layer's hold of its connections: the gradient is refused where it has others by
    then.

    Raises RuntimeError, as nn.Conv2d does, for a wrong shape, type or device, and ValueError for
    a backend that is unknown or cannot serve the tensors.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"expected the input to be a Tensor, got {type(x).__name__}")
    x, values, bias = autocast(x, values, bias)
    if isinstance(connectivity, Connectivity):
        connectivity.lay_out()  # the operator gets the arrays in every call
    if not is_jit():  # sizes are tensors there, which only the operator may look at
        _check(x, values, bias, connectivity, geometry)
    images = x if x.dim() == 4 else x.unsqueeze(0)
    if isinstance(connectivity, Arrays):
        handle = connectivity.handle
    else:
        handle = None if owner is None else owner.handle
    where = connectivity.row_ptr, connectivity.col, geometry.flat(), backend, handle
    y: Tensor = operators.differentiable_conv2d(images, values, bias, *where)
    return y if x.dim() == 4 else y.squeeze(0)


def conv2d_of(
    connections: Connections,
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    backend: str | None,
) -> Tensor:
    """Return `sparse_conv2d` for what a layer is connected by now: what torch.fx draws of it."""
    owner, connectivity = connections, connections.get()
    return sparse_conv2d(x, values, bias, connectivity, geometry, backend=backend, owner=owner)


def _check(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity | Arrays,
    geometry: Geometry,
) -> None:
    """Raise RuntimeError for an argument that does not fit, with what was expected and given."""
    out, columns = connectivity.shape
    channels = columns // (geometry.kernel[0] * geometry.kernel[1]) * geometry.groups
    if x.dim() not in (3, 4) or x.shape[-3] != channels:
        raise RuntimeError(
            f"expected an input of shape (N, {channels}, H, W) or ({channels}, H, W), "
            f"got {tuple(x.shape)}: the layer has in_channels={channels}"
        )
    geometry.output_size(x.shape[-2], x.shape[-1])
    if x.dtype != values.dtype:
        raise RuntimeError(f"expected an input of type {values.dtype}, the layer's, got {x.dtype}")
    for name, tensor in (("weights", values), ("connections", connectivity.col)):
        if x.device != tensor.device and not (x.is_meta and name == "connections"):
            raise RuntimeError(
                f"expected an input on {tensor.device}, where the layer's {name} are, "
                f"got {x.device}"
            )
    if values.shape != connectivity.col.shape:
        raise RuntimeError(
            f"expected weights of shape ({connectivity.col.shape[0]},), one for each connection, "
            f"got {tuple(values.shape)}"
        )
    if bias is not None and (
        bias.dtype != values.dtype or bias.shape != (out,) or bias.device != x.device
    ):
        raise RuntimeError(
            f"expected a bias of type {values.dtype} and shape ({out},) on {x.device}, "
            f"got {bias.dtype} {tuple(bias.shape)} on {bias.device}"
        )
