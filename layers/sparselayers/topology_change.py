"""TopologyChange: a layer's connections before and after, for whoever keeps something for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.topologies.keys import keys_of


@dataclass(frozen=True, eq=False)
class TopologyChange:
    """What a layer's connections were and what they are: for whoever keeps something for each."""

    old: Connectivity
    new: Connectivity

    @cached_property
    def places(self) -> Tensor:
        """Where each new connection stood before, (nnz,) int64; −1 for one that has grown."""
        if self.old.equals(self.new):
            return torch.arange(self.new.nnz, device=self.new.device)
        old, new = keys_of(self.old.to(self.new.device)), keys_of(self.new)
        places = torch.searchsorted(old, new).clamp_(max=max(0, old.numel() - 1))
        return torch.where(old[places] == new, places, -1)

    def carry(self, tensor: Tensor, *, fill: float = 0.0) -> Tensor:
        """Return what `tensor` (old nnz,) holds for the connections, for the new ones.

        A connection that has grown gets `fill`.
        """
        places = self.places.to(tensor.device)
        carried = tensor[places.clamp(min=0)]
        return carried.masked_fill_(places < 0, fill)


Hook = Callable[[Any, TopologyChange], None]
