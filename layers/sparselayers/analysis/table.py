"""The topology of a model as a table: one row a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sparselayers.analysis.degrees import degrees
from sparselayers.analysis.flow import fits, flow
from sparselayers.analysis.neighbours import small_worldness
from sparselayers.layer import SparseLayer

if TYPE_CHECKING:
    from pandas import DataFrame


def topology(model: nn.Module, *, chain: Sequence[str] | None = None) -> DataFrame:
    """Return what `rows` finds as a DataFrame, one row a sparse layer; needs pandas.

    Raises ModuleNotFoundError where pandas is missing, and what `rows` raises.
    """
    return frame_of(rows(model, chain=chain))


def rows(model: nn.Module, *, chain: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return for each sparse layer, by name: its sizes, degrees, dead units, paths, small world.

    Columns: `layer`, `outputs`, `inputs`, `connections`, `sparsity`; of the outputs and inputs each
    mean, deviation, least and most connections (`out_degree_mean`, …), and how many have none
    (`dead_outputs`, `dead_inputs`); `clustering`, `distance` and `worldness` of `small_worldness`;
    and of the whole chain `effective` (connections on a path), `effective_units`, `paths` and
    `depth` of `flow`.

    `chain` names layers of which each takes the outputs of the one before; by default all sparse
    layers and nn.Linear as they were defined, where their sizes fit. Layers that are not in it have
    None in the last four columns.

    Raises ValueError where the model has no sparse layers, for a name that is no layer, and a chain
    that does not fit.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, SparseLayer | nn.Linear)}
    if not any(isinstance(layer, SparseLayer) for layer in layers.values()):
        raise ValueError("the model has no sparse layers")
    for name in chain or ():
        if name not in layers:
            raise ValueError(f"chain names {name!r}: there are {', '.join(map(repr, layers))}")
    names = list(layers) if chain is None else list(chain)
    if chain is None and not fits(list(layers.values())):
        names = []
    flows = _flows(names, layers)
    return [
        _row(name, layer) | flows.get(name, dict.fromkeys(_FLOWS))
        for name, layer in layers.items()
        if isinstance(layer, SparseLayer)
    ]


def frame_of(records: list[dict[str, Any]]) -> DataFrame:
    """Return a DataFrame of `records`; ModuleNotFoundError says what to install."""
    try:
        import pandas  # here, since sparselayers does not depend on it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tables need pandas: pip install pandas, or use `sparselayers.analysis.rows`"
        ) from error
    return pandas.DataFrame(records)


_FLOWS = ("effective", "effective_units", "paths", "depth")


def _flows(names: list[str], layers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    found = flow([layers[name] for name in names])
    return {
        name: dict(zip(_FLOWS, (effective, units, found.paths, found.depth), strict=True))
        for name, effective, units in zip(names, found.effective, found.units, strict=True)
    }


def _row(name: str, layer: SparseLayer) -> dict[str, Any]:
    found, world = degrees(layer.connectivity), small_worldness(layer.connectivity)
    return {
        "layer": name,
        "outputs": layer.shape[0],
        "inputs": layer.shape[1],
        "connections": layer.weights.numel(),
        "sparsity": layer.sparsity,
        **_spread("out_degree", found.outputs),
        **_spread("in_degree", found.inputs),
        "dead_outputs": found.dead_outputs,
        "dead_inputs": found.dead_inputs,
        "clustering": world.clustering,
        "distance": world.distance,
        "worldness": world.worldness,
    }


def _spread(name: str, counts: Tensor) -> dict[str, float]:
    wide = counts.double()
    return {
        f"{name}_mean": float(wide.mean()),
        f"{name}_std": float(wide.std(correction=0)),
        f"{name}_min": int(counts.min()),
        f"{name}_max": int(counts.max()),
    }
