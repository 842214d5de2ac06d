"""This project's layers under RigL: connections grow where the gradient is largest.

What is called after a step of the optimizer is `sparselayers.RigL.step`, as in a user's loop: in
`train_step` it counts, in `rewiring` it forms the dense gradient, in blocks, and moves connections.
What the layer arranges for its new connections is made in the next step, and is part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch.optim import Optimizer

import sparselayers as sl
from sparsebench.cases.phases import REWIRED
from sparsebench.implementations.ours import Ours
from sparselayers.dynamic import Rewirer

_LAST = 2**60  # step


class Dynamic(sl.SparseLinear):
    """A sparse layer that is rewired by the `rule` of its class."""

    rule: ClassVar[type[Rewirer]]

    def follow(self, optimizer: Optimizer, update_every: int) -> Callable[[], object]:
        """Have a rewirer count the steps of `optimizer`; return its `step`."""
        return self.rule(
            self,
            optimizer,
            update_every=update_every,
            stop_after=_LAST,
            fraction=REWIRED,
            decay="constant",
            generator=torch.Generator().manual_seed(0),
        ).step


class ByGradient(Dynamic):
    """Rewired by RigL."""

    rule = sl.RigL


class RigL(Ours):
    """`sparselayers.SparseLinear` with `sparselayers.RigL`, which rewires it."""

    name = "rigl"
    operations = ("linear",)
    linear: ClassVar[type[sl.SparseLinear]] = ByGradient
    grow: ClassVar[Literal["", "gradient", "anywhere"]] = "gradient"
    stands_in = False
