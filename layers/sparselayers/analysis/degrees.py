"""How many connections each neuron has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity


@dataclass(frozen=True, eq=False)
class Degrees:
    """The number of connections of each output (out,) and of each input (in,), int64."""

    outputs: Tensor
    inputs: Tensor

    @property
    def dead_outputs(self) -> int:
        """How many outputs have no connection: they are their bias."""
        return int((self.outputs == 0).sum())

    @property
    def dead_inputs(self) -> int:
        """How many inputs have no connection: nobody sees them."""
        return int((self.inputs == 0).sum())


def degrees(connectivity: Connectivity) -> Degrees:
    """Return the degrees of a layer's neurons, in O(nnz)."""
    return Degrees(
        connectivity.row_ptr.diff().long(),
        torch.bincount(connectivity.col, minlength=connectivity.shape[1]),
    )
