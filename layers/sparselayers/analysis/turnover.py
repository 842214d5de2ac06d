"""How much of a model's connections is replaced while it trains."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sparselayers.analysis.table import frame_of
from sparselayers.layer import SparseLayer
from sparselayers.topologies.keys import contains, keys_of
from sparselayers.topologies.sampling import distinct
from sparselayers.topology_change import TopologyChange

if TYPE_CHECKING:
    from pandas import DataFrame


class Turnover:
    """Watch the connections of a model's sparse layers, from now until `stop`.

    `rows` has a dict for each change of a layer: `layer`, `change` (counted from 1), how many
    connections have `grown` and how many were `dropped`, how many there are (`connections`), the
    `share` that is new, and `explored`: the share of all places where there has been a connection
    since (the in-time over-parameterization rate). It costs 8 bytes for each of these places.

    Raises ValueError where the model has no sparse layers.

    Source: Liu et al. 2021, Do We Actually Need Dense Over-Parameterization? (ITOP, arXiv
    2102.02887).
    """

    def __init__(self, model: nn.Module) -> None:
        self.rows: list[dict[str, Any]] = []
        self._seen: dict[str, Tensor] = {}
        self._handles = []
        for name, module in model.named_modules():
            if isinstance(module, SparseLayer):
                self._seen[name] = keys_of(module.connectivity).cpu()
                hook = partial(self._note, name)
                self._handles.append(module.register_topology_hook(hook))
        if not self._handles:
            raise ValueError("the model has no sparse layers to watch")

    def stop(self) -> None:
        """Watch no more."""
        for handle in self._handles:
            handle.remove()

    def table(self) -> DataFrame:
        """Return the rows as a DataFrame; needs pandas."""
        return frame_of(self.rows)

    def _note(self, name: str, layer: SparseLayer, change: TopologyChange) -> None:
        new = keys_of(change.new).cpu()
        grown = int((change.places < 0).sum())
        seen = self._seen[name]
        fresh = new[~contains(seen, new)]
        self._seen[name] = distinct(torch.cat((seen, fresh))) if fresh.numel() else seen
        rows, columns = layer.shape
        self.rows.append(
            {
                "layer": name,
                "change": 1 + sum(row["layer"] == name for row in self.rows),
                "grown": grown,
                "dropped": change.old.nnz - (new.numel() - grown),
                "connections": new.numel(),
                "share": grown / new.numel(),
                "explored": self._seen[name].numel() / (rows * columns),
            }
        )
