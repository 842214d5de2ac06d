"""Where the windows of a two-dimensional convolution lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Pair = tuple[int, int]
Padding = int | Pair | Literal["same", "valid"]


@dataclass(frozen=True)
class Geometry:
    """How windows of `kernel` (height, width) are taken from an image padded with zeros.

    `padding` is (top, bottom, left, right). Output (i, j) sees the pixels (i · stride + a ·
    dilation − top, j · stride + b · dilation − left), for each place (a, b) of the kernel. Channels
    are in `groups` equal groups; an output sees the channels of its own group. The columns of the
    weight matrix (out, channels / groups · Π kernel) are (channel, a, b), b running fastest.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @classmethod
    def of(
        cls,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Geometry:
        """Return the geometry that these arguments of nn.Conv2d ask for.

        Raises ValueError for what is no positive integer (for padding: not negative), no pair of
        them, an unknown name of a padding, or "same" with a stride.
        """
        kernel = pair("kernel_size", kernel_size)
        stride, dilation = pair("stride", stride), pair("dilation", dilation)
        (groups,) = _integers("groups", (groups,), minimum=1)
        if padding == "same":
            if stride != (1, 1):
                raise ValueError(f"padding='same' needs stride 1, got stride={stride}")
            total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            (top, left), (bottom, right) = ([t // 2 for t in total], [t - t // 2 for t in total])
            return cls(kernel, stride, (top, bottom, left, right), dilation, groups)
        if isinstance(padding, str):
            if padding != "valid":
                raise ValueError(
                    f"padding must be an integer, a pair, 'same' or 'valid', got {padding!r}"
                )
            padding = 0
        high, wide = pair("padding", padding, minimum=0)
        return cls(kernel, stride, (high, high, wide, wide), dilation, groups)

    def __post_init__(self) -> None:
        for axis, (size, before, after) in enumerate(
            zip(self.kernel, self.padding[::2], self.padding[1::2], strict=True)
        ):
            if min(size, self.stride[axis], self.dilation[axis], self.groups) < 1 or (
                min(before, after) < 0
            ):
                raise ValueError(f"no geometry of a convolution: {self}")

    def output_size(self, height: int, width: int) -> Pair:
        """Return (height, width) of what comes out for an image of `height` × `width`.

        Raises RuntimeError, as nn.Conv2d does, where the kernel is larger than the padded image.
        """
        padded = height + sum(self.padding[:2]), width + sum(self.padding[2:])
        reach = self.reach
        if padded[0] < reach[0] or padded[1] < reach[1]:
            raise RuntimeError(
                f"expected an image that holds the kernel, {reach[0]} × {reach[1]} with its "
                f"dilation; the padded one is {padded[0]} × {padded[1]}"
            )
        return (
            (padded[0] - reach[0]) // self.stride[0] + 1,
            (padded[1] - reach[1]) // self.stride[1] + 1,
        )

    @property
    def reach(self) -> Pair:
        """The pixels (high, wide) between the first and the last that a window sees, inclusive."""
        (high, wide), (down, right) = self.kernel, self.dilation
        return (high - 1) * down + 1, (wide - 1) * right + 1

    def columns(self, channels: int) -> int:
        """Return the number of columns of the weight matrix for an image of `channels`."""
        return channels // self.groups * self.kernel[0] * self.kernel[1]

    def flat(self) -> list[int]:
        """Return all numbers in one list, as operators take them; `from_flat` reads it."""
        return [*self.kernel, *self.stride, *self.padding, *self.dilation, self.groups]

    @classmethod
    def from_flat(cls, numbers: Sequence[int]) -> Geometry:
        """Return the geometry whose `flat` is `numbers`."""
        k1, k2, s1, s2, top, bottom, left, right, d1, d2, groups = numbers
        return cls((k1, k2), (s1, s2), (top, bottom, left, right), (d1, d2), groups)


def pair(name: str, value: int | Sequence[int], *, minimum: int = 1) -> Pair:
    """Return `value`, an integer or two, as a pair, or raise ValueError naming it."""
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) not in (1, 2):
        raise ValueError(f"{name} must be an integer or a pair of integers, got {value!r}")
    first, second = _integers(name, both * (2 // len(both)), minimum=minimum)
    return first, second


def _integers(name: str, values: tuple[int, ...], *, minimum: int) -> tuple[int, ...]:
    for value in values:
        if not hasattr(value, "__index__") or isinstance(value, bool) or int(value) < minimum:
            raise ValueError(f"{name} must be integers of at least {minimum}, got {value!r}")
    return tuple(int(value) for value in values)
