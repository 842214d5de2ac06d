"""SparseConv1d: a convolution of sequences with a sparse weight."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparselayers import tracing
from sparselayers.connectivity import Connectivity
from sparselayers.conv import ARGUMENTS, PaddingMode, SparseConv2d
from sparselayers.convolution.geometry import Geometry
from sparselayers.functional import sparse_conv2d
from sparselayers.initialization import Init
from sparselayers.layer import only
from sparselayers.weight import SparseWeight, as_tensor


class SparseConv1d(SparseConv2d):
    """Convolve sequences with a sparse weight, sparse in forward and backward alike.

    Input (N, in_channels, L) or (in_channels, L); output (N, out_channels, L') or without N. The
    arguments are those of nn.Conv1d and, from `sparsity` on, those of SparseConv2d, which computes
    it as images of height 1; a mask may be of nn.Conv1d's shape (out_channels,
    in_channels / groups, kernel size).

    Raises ValueError as SparseConv2d does.
    """

    dense_type: ClassVar[type[nn.Module]] = nn.Conv1d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: str | int | tuple[int] = 0,
        dilation: int | tuple[int] = 1,
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
        if isinstance(connectivity, Tensor) and connectivity.dim() == 3:
            connectivity = connectivity[:, :, None]
        sizes: Any = {
            "kernel_size": (1, _one("kernel_size", kernel_size)),
            "stride": (1, _one("stride", stride)),
            "padding": padding if isinstance(padding, str) else (0, _one("padding", padding)),
            "dilation": (1, _one("dilation", dilation)),
        }
        super().__init__(
            in_channels,
            out_channels,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            sparsity=sparsity,
            connectivity=connectivity,
            init=init,
            device=device,
            dtype=dtype,
            generator=generator,
            backend=backend,
            **sizes,
        )
        # As nn.Conv1d shows them: others read them, such as transformers' Whisper its strides.
        shown: Any = self
        for name in ("kernel_size", "stride", "padding", "dilation"):
            value = getattr(self, name)
            setattr(shown, name, value if isinstance(value, str) else value[1:])

    @property
    def geometry(self) -> Geometry:
        """Where the windows lie in an image of height 1."""
        own: Any = self
        kernel, stride, dilation = (
            (1, *sizes) for sizes in (own.kernel_size, own.stride, own.dilation)
        )
        padding: Any = own.padding if isinstance(own.padding, str) else (0, *own.padding)
        return Geometry.of(kernel, stride, padding, dilation, self.groups)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weight as nn.Conv1d has it."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def weight(self) -> Tensor:
        """The weight as a sparse tensor, as COO of nn.Conv1d's shape; see SparseConv2d."""
        if self.format == "csr":
            return super().weight
        values, connectivity = self.weights.view(-1), self._any_connectivity()

        def conv1d(
            input: Tensor,
            bias: Tensor | None = None,
            stride: Any = 1,
            padding: Any = 0,
            dilation: Any = 1,
            groups: int = 1,
        ) -> Tensor:
            stride, dilation = (1, _one("stride", stride)), (1, _one("dilation", dilation))
            padding = padding if isinstance(padding, str) else (0, _one("padding", padding))
            geometry = Geometry.of(self.geometry.kernel, stride, padding, dilation, groups)
            x = input.unsqueeze(-2)
            owner, backend = self._connections, self.backend
            y = sparse_conv2d(x, values, bias, connectivity, geometry, backend=backend, owner=owner)
            return y.squeeze(-2)

        make = partial(as_tensor, values, connectivity, self.weight_shape, "coo")
        return SparseWeight.of(values, make, {F.conv1d: conv1d})

    @tracing.drawn_untyped
    def forward(self, x: Tensor | None = None, *, input: Tensor | None = None) -> Tensor:
        """Return the convolution of `x`, (N, out_channels, L'); `x` is also called `input`."""
        if x is None or input is not None:
            x = only(x, input)
        if (node := tracing.as_node(self, x)) is not None:
            return node  # type: ignore[no-any-return]
        return super().forward(x.unsqueeze(-2)).squeeze(-2)

    def _dense(self, **factory: Any) -> nn.Module:
        arguments: Any = {name: getattr(self, name) for name in ARGUMENTS}
        return nn.Conv1d(**arguments, bias=self.bias is not None, **factory)


def _one(name: str, value: object) -> int:
    """Return the number of a size given as one or as a tuple of one, or raise ValueError."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be an integer or a tuple of one, got {value!r}")
    return value
