"""What the connections of a trained network look like, as it is recorded with it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sparsebench.training import mlp
from sparsebench.training.records import LayerConnections
from sparsebench.training.settings import MLPSetting, Setting
from sparsebench.training.weights import layers_with_weights
from sparselayers import Connectivity, analysis
from sparselayers.analysis.flow import fits
from sparselayers.layer import SparseLayer
from sparselayers.topology_change import TopologyChange


def of(
    network: nn.Module, setting: Setting, samples: tuple[Tensor, Tensor] | None
) -> list[LayerConnections]:
    """Return what is recorded of the sparse layers of `network`, in O(nnz).

    What they began with is drawn again, so that it need not be kept while the network trains.
    """
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
    begun = _begun(setting, samples)
    made = []
    for name in sparse:
        layer = named[name]
        assert isinstance(layer, SparseLayer)
        new = _grown(layer.connectivity, begun[name]) if name in begun else None
        if isinstance(setting, MLPSetting) and setting.rewiring == "none":
            new = 0
        made.append(_layer(name, layer, places[name], flow, new))
    return made


def _begun(setting: Setting, samples: tuple[Tensor, Tensor] | None) -> dict[str, Connectivity]:
    """Return the connections that rewiring began with, by layer; none where that is not known."""
    if not isinstance(setting, MLPSetting) or setting.at_start != "none":
        return {}
    if setting.rewiring == "none":
        return {}
    with torch.random.fork_rng(devices=[]):
        images = None if samples is None else samples[0]
        network = mlp.build(replace(setting, device="cpu"), images)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, SparseLayer)}
    return {name: layer.connectivity for name, layer in layers.items()}


def _grown(now: Connectivity, begun: Connectivity) -> int:
    return int((TopologyChange(begun, now.to("cpu")).places < 0).sum())


def _layer(
    name: str, layer: SparseLayer, place: int, flow: analysis.Flow | None, new: int | None
) -> LayerConnections:
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
        new=new,
    )
