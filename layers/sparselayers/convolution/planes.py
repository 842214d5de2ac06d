"""Images as the native kernels see them: planes of pixels, and where each window lies in them.

See layers/sparselayers/csrc/convolution/convolution.h for what the numbers mean there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.convolution.geometry import Geometry, Pair


@dataclass(frozen=True)
class Images:
    """Images as planes: sizes, step and shift of both axes, and the phases that are used."""

    channels: int
    size: Pair
    step: Pair = (1, 1)
    shift: Pair = (0, 0)
    phases: tuple[tuple[int, ...], tuple[int, ...]] = ((0,), (0,))

    @property
    def planes(self) -> int:
        """The number of planes of one image."""
        return self.channels * len(self.phases[0]) * len(self.phases[1])

    def numbers(self) -> list[int]:
        """Return all but the phases as the kernels take it."""
        return [self.channels, *self.size, *self.step, *self.shift]

    @property
    def plain(self) -> bool:
        """Whether an image is a plane as it is: no step, no shift, one phase."""
        return self.step == (1, 1) and self.shift == (0, 0) and self.phases == ((0,), (0,))


@dataclass(frozen=True)
class Axis:
    """One axis of the geometry in planes: each place of the kernel has a phase and a distance."""

    phases: tuple[int, ...]
    phase: tuple[int, ...]
    distance: tuple[int, ...]

    @classmethod
    def of(cls, kernel: int, stride: int, dilation: int) -> Axis:
        """Return the axis of a kernel of that many places."""
        places = [place * dilation for place in range(kernel)]
        phases = tuple(sorted({place % stride for place in places}))
        return cls(
            phases,
            tuple(phases.index(place % stride) for place in places),
            tuple(place // stride for place in places),
        )

    @property
    def reach(self) -> int:
        """How many pixels of a plane a window goes beyond its first."""
        return max(self.distance)


def axes_of(geometry: Geometry) -> tuple[Axis, Axis]:
    """Return the axis of the rows and that of the columns."""
    high, wide = (
        Axis.of(*numbers)
        for numbers in zip(geometry.kernel, geometry.stride, geometry.dilation, strict=True)
    )
    return high, wide


def places(
    connectivity: Connectivity, geometry: Geometry, images: Images
) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each connection its plane, and how far its window is down and right in it."""
    out, columns = connectivity.shape
    high, wide = axes_of(geometry)
    kernel = geometry.kernel[0] * geometry.kernel[1]
    place = torch.arange(kernel)
    row_place, col_place = place // geometry.kernel[1], place % geometry.kernel[1]
    phase = (
        torch.tensor(high.phase)[row_place] * len(wide.phases) + torch.tensor(wide.phase)[col_place]
    )
    col = connectivity.col.long()
    channel, place = col // kernel, col % kernel
    if geometry.groups > 1:
        group = connectivity.row.long() // (out // geometry.groups)
        channel += group * (columns // kernel)
    plane = channel * (len(high.phases) * len(wide.phases)) + phase[place]
    down = torch.tensor(high.distance)[row_place]
    right = torch.tensor(wide.distance)[col_place]
    return plane, down[place], right[place]
