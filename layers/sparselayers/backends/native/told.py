"""What kernels are told of a layer's connections: once, and then by one object of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Told:
    """What the kernels hold on to, and the arrays that it points to.

    Whoever computes with it holds it: the connections forget what was derived, and arrays go then.
    """

    kernel: Any
    arrays: tuple[Tensor, ...]
