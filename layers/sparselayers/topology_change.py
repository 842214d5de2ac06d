"""TopologyChange: a layer's connections before and after, for whoever keeps something for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparselayers import by_rows
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
        if by_rows.serves(self.old, self.new):
            return by_rows.places(self.old, self.new)
        old, new = keys_of(self.old.to(self.new.device)), keys_of(self.new)
        places = torch.searchsorted(old, new).clamp_(max=max(0, old.numel() - 1))
        return torch.where(old[places] == new, places, -1)

    def carry(self, tensor: Tensor, *, fill: float = 0.0) -> Tensor:
        """Return what `tensor` (old nnz,) holds for the connections, for the new ones.

        A connection that has grown gets `fill`.
        """
        if fill == 0.0 and self._moves(tensor):
            carried = tensor.detach().new_empty(self.new.nnz)
            by_rows.carry(self.old, self.new, [(tensor, carried)])
            return carried
        places = self.places.to(tensor.device)
        carried = tensor[places.clamp(min=0)]
        return carried.masked_fill_(places < 0, fill)

    @torch.no_grad()
    def move(self, tensors: Iterable[Tensor]) -> None:
        """Let tensors (nnz,) hold for the new connections what they hold for the old ones.

        There are as many of both. Those that have grown get 0. Memory that several have in common
        is moved once.
        """
        moved: dict[int, Tensor] = {}
        for tensor in tensors:
            if not tensor.numel():
                continue
            if self._moves(tensor):
                moved.setdefault(tensor.data_ptr(), tensor)
            else:
                tensor.copy_(self.carry(tensor))
        if moved:
            by_rows.carry(self.old, self.new, [(each, each) for each in moved.values()])
            for each in moved.values():
                torch.autograd.graph.increment_version(each)

    def _moves(self, tensor: Tensor) -> bool:
        """Whether the kernels can move it."""
        return (
            tensor.shape == (self.old.nnz,)
            and by_rows.serves(self.old, self.new)
            and by_rows.moves(tensor)
            and not (tensor.requires_grad and torch.is_grad_enabled())
        )


Hook = Callable[[Any, TopologyChange], None]
