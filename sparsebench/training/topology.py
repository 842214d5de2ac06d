"""What the connections of a trained network look like, as it is recorded with it."""

from __future__ import annotations

from torch import nn

from sparsebench.training.records import LayerConnections
from sparsebench.training.weights import layers_with_weights
from sparselayers import analysis
from sparselayers.analysis.flow import fits
from sparselayers.layer import SparseLayer


def of(network: nn.Module) -> list[LayerConnections]:
    """Return what is recorded of the sparse layers of `network`, in O(nnz)."""
    named = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, SparseLayer | nn.Linear)
    }
    sparse = [name for name, module in named.items() if isinstance(module, SparseLayer)]
    if not sparse:
        return []
    chain = list(named.values())
    whole = len(chain) == len(layers_with_weights(network)) and fits(chain)
    flow = analysis.flow(chain) if whole else None
    places = {name: place for place, name in enumerate(named)}
    return [_layer(name, named[name], places[name], flow) for name in sparse]


def _layer(name: str, layer: nn.Module, place: int, flow: analysis.Flow | None) -> LayerConnections:
    assert isinstance(layer, SparseLayer)
    degrees = analysis.degrees(layer.connectivity)
    return LayerConnections(
        layer=name,
        outputs=layer.shape[0],
        inputs=layer.shape[1],
        connections=layer.weights.numel(),
        dead_outputs=degrees.dead_outputs,
        dead_inputs=degrees.dead_inputs,
        effective=None if flow is None else flow.effective[place],
        effective_units=None if flow is None else flow.units[place],
    )
