"""SparseConv2d: a convolution that stores and multiplies only the weights that exist."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from sparselayers import resizing, tracing
from sparselayers.compat import PublishedMethods
from sparselayers.connectivity import Connectivity
from sparselayers.convolution.functional import conv2d_of
from sparselayers.convolution.geometry import Geometry, Padding, Pair, pair
from sparselayers.functional import sparse_conv2d
from sparselayers.initialization import Init
from sparselayers.layer import only
from sparselayers.topologies import arguments
from sparselayers.weight import SparseWeight, as_tensor

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

ARGUMENTS = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)

torch.fx.wrap("conv2d_of")


class SparseConv2d(PublishedMethods):
    """Convolve images with a sparse weight, sparse in forward and backward alike.

    Input (N, in_channels, H, W) or (in_channels, H, W), in any memory format; output
    (N, out_channels, H', W') or without N. The arguments up to `padding_mode`, and `device` and
    `dtype`, are those of nn.Conv2d. The weight is the matrix of `shape` (out_channels,
    in_channels / groups · kernel height · kernel width); its connections may be given as a
    Connectivity or an integer tensor (2, nnz) of that shape, or as a boolean mask of that shape or
    of nn.Conv2d's (out_channels, in_channels / groups, kernel height, kernel width). Without,
    round((1 − sparsity) · all) are drawn uniformly from `generator`. Parameters, buffers, `init`
    and `backend` are those of SparseLinear.

    An infinity or NaN in a channel may reach the gradients of all weights of that channel.

    Raises ValueError for what nn.Conv2d refuses, a sparsity outside [0, 1) or one that leaves no
    connection, connections that do not fit, and an unknown `init` or `backend`.
    """

    dense_type: ClassVar[type[nn.Module]] = nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        sparsity: float = 0.9,
        connectivity: Connectivity | Tensor | None = None,
        *,
        init: Init = "linear",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
        backend: str | None = None,
    ) -> None:
        geometry = Geometry.of(kernel_size, stride, padding, dilation, groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            pair(name, channels)
            if channels % groups:
                raise ValueError(f"{name} = {channels} must be divisible by groups = {groups}")
        if padding_mode not in get_args(PaddingMode):
            raise ValueError(
                f"padding_mode must be one of {', '.join(get_args(PaddingMode))}, "
                f"got {padding_mode!r}"
            )
        shape = out_channels, geometry.columns(in_channels)
        if isinstance(connectivity, Tensor) and connectivity.dim() == 4:
            connectivity = _as_matrix(connectivity, (*shape[:1], in_channels // groups), geometry)
        super().__init__(
            arguments.choose(shape, sparsity, connectivity, generator=generator, device=device),
            bias=bias,
            init=init,
            dtype=dtype,
            generator=generator,
            backend=backend,
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = (
            geometry.kernel,
            geometry.stride,
            geometry.dilation,
        )
        self.padding = padding if isinstance(padding, str) else pair("padding", padding, minimum=0)
        self.groups, self.padding_mode = groups, padding_mode

    @property
    def geometry(self) -> Geometry:
        """Where the windows lie, with the padding that `padding_mode` asks for."""
        return Geometry.of(self.kernel_size, self.stride, self.padding, self.dilation, self.groups)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weight as nn.Conv2d has it."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def weight(self) -> Tensor:
        """The weight as a sparse tensor that shares memory with `weights`, and passes gradients on.

        As COO of nn.Conv2d's shape (out, in / groups, kernel height, kernel width); as CSR, which
        has two dimensions, of shape (out, in / groups · kernel height · kernel width).
        """
        if self.format == "csr":
            return super().weight
        values, connectivity = self.weights.view(-1), self._any_connectivity()

        def conv2d(
            input: Tensor,
            bias: Tensor | None = None,
            stride: int | Pair = 1,
            padding: Padding = 0,
            dilation: int | Pair = 1,
            groups: int = 1,
        ) -> Tensor:
            geometry = Geometry.of(self.kernel_size, stride, padding, dilation, groups)
            owner, backend = self._connections, self.backend
            return sparse_conv2d(
                input, values, bias, connectivity, geometry, backend=backend, owner=owner
            )

        make = partial(as_tensor, values, connectivity, self.weight_shape, "coo")
        return SparseWeight.of(values, make, {F.conv2d: conv2d})

    @tracing.drawn_untyped
    def forward(self, x: Tensor | None = None, *, input: Tensor | None = None) -> Tensor:
        """Return the convolution of `x`, (N, out_channels, H', W'); `x` is also called `input`."""
        if x is None or input is not None:
            x = only(x, input)
        if (node := tracing.as_node(self, x)) is not None:
            return node  # type: ignore[no-any-return]
        compiling = torch.compiler.is_compiling() and not tracing.is_exporting()
        if compiling and resizing.breaks(self._connections.handle):
            return resizing.outside(self, x)  # type: ignore[no-any-return]
        geometry, watcher = self.geometry, self._connections.watcher
        if watcher is not None:
            x = watcher.enter(x)
        given = x
        if self.padding_mode != "zeros":
            top, bottom, left, right = geometry.padding
            x = F.pad(x, (left, right, top, bottom), mode=self.padding_mode)
            geometry = Geometry.of(
                geometry.kernel, geometry.stride, 0, geometry.dilation, self.groups
            )
        if tracing.is_drawn(x):
            parameters = self.weights, self.bias
            return conv2d_of(self._connections, x, *parameters, geometry, self.backend)
        connectivity: Connectivity | tracing.Arrays = (
            self.traced if tracing.is_traced(x, self.weights) else self.connectivity
        )
        owner, backend = self._connections, self.backend
        parameters = self.weights, self.bias
        y = sparse_conv2d(x, *parameters, connectivity, geometry, backend=backend, owner=owner)
        if watcher is not None:
            watcher.leave(given, self.weights, y)
        return y

    def weight_gradient(self, x: Tensor, dy: Tensor, rows: slice) -> Tensor:
        """Return those rows of the gradient of the dense weight matrix, (rows, columns)."""
        geometry = self.geometry
        top, bottom, left, right = geometry.padding
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        x = F.pad(x.reshape(-1, *x.shape[-3:]), (left, right, top, bottom), mode=mode)
        dy = dy.reshape(-1, *dy.shape[-3:])
        outputs, inputs = self.out_channels // self.groups, self.in_channels // self.groups
        pieces = []
        for group in range(rows.start // outputs, (rows.stop - 1) // outputs + 1):
            own = slice(max(rows.start, group * outputs), min(rows.stop, (group + 1) * outputs))
            piece = conv2d_weight(  # type: ignore[no-untyped-call]
                x[:, group * inputs : (group + 1) * inputs],
                (own.stop - own.start, inputs, *geometry.kernel),
                dy[:, own],
                stride=geometry.stride,
                dilation=geometry.dilation,
            )
            pieces.append(piece.flatten(1))
        return torch.cat(pieces)

    @classmethod
    def _like(cls, layer: Any, **arguments: Any) -> Self:
        return cls(**{name: getattr(layer, name) for name in ARGUMENTS}, **arguments)

    def _dense(self, **factory: Any) -> nn.Module:
        arguments = {name: getattr(self, name) for name in ARGUMENTS}
        return nn.Conv2d(**arguments, bias=self.bias is not None, **factory)

    def extra_repr(self) -> str:
        """Say what `print(layer)` shows: what differs from the defaults, and the sparsity."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        for name, defaults in (
            ("padding", ((0, 0), (0,))),
            ("dilation", ((1, 1), (1,))),
            ("groups", (1,)),
            ("padding_mode", ("zeros",)),
        ):
            if (value := getattr(self, name)) not in defaults:
                text += f", {name}={value}"
        return (
            f"{text}, bias={self.bias is not None}, "
            f"sparsity={self.sparsity:.4g}, nnz={self.weights.numel()}"
        )


def _as_matrix(mask: Tensor, channels: tuple[int, int], geometry: Geometry) -> Tensor:
    """Return a mask of nn.Conv2d's shape as a matrix."""
    expected = (*channels, *geometry.kernel)
    if mask.dtype != torch.bool or tuple(mask.shape) != expected:
        raise ValueError(
            f"a mask must be boolean and of shape {expected} or "
            f"({expected[0]}, {expected[1] * expected[2] * expected[3]}), "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )
    return mask.flatten(1)
