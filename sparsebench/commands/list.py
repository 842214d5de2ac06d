"""`sparsebench list`: what can be measured, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from sparsebench.analysis.metrics import METRICS
from sparsebench.cases import covered, sweep
from sparsebench.cases.topologies import TOPOLOGIES, Topology
from sparsebench.cases.weights import PREFIX
from sparsebench.extensions import HERE, Registry
from sparsebench.implementations import IMPLEMENTATIONS, Implementation
from sparsebench.output import console

_MOST = 3  # sweeps that are named; JSON has all

Row = dict[str, Any]


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """List implementations, layers, topologies, sweeps and metrics."""
    plain = _plain()
    if as_json:
        typer.echo(json.dumps(plain))
        return
    _show("Implementations", "implementation", plain["implementations"], _available)
    _show("Layers", "layer", plain["layers"], _measured)
    _show("Topologies and structures", "topology", plain["topologies"], _measured, _available)
    table = _table("Sweeps", "sweep", "what it asks")
    for row in plain["sweeps"]:
        table.add_row(row["name"], row["description"])
    console.print(table)
    table = _table("Metrics", "metric", "unit", "what it is")
    for row in plain["metrics"]:
        table.add_row(row["name"], row["unit"], row["description"])
    console.print(table)


def _plain() -> dict[str, list[Row]]:
    grids = covered.shipped()
    drawn = covered.of_topologies(grids)
    return {
        "implementations": _registered(IMPLEMENTATIONS, _competitor),
        "layers": [
            {
                "name": layer.name,
                "description": layer.description,
                "sweeps": covered.of_layer(layer, grids),
            }
            for layer in covered.LAYERS
        ],
        "topologies": [
            row | {"sweeps": drawn.get(row["name"], [])}
            for row in [*_registered(TOPOLOGIES, _topology), _FILES]
        ],
        "sweeps": [
            {"name": name, "description": sweep.load(name).description} for name in sweep.names()
        ],
        "metrics": [
            {"name": metric.name, "unit": metric.unit, "description": metric.description}
            for metric in METRICS.values()
        ],
    }


_FILES = {
    "name": PREFIX,
    "description": "Those of a matrix in a file, file:PATH: a pruned checkpoint's, or your own.",
    "unavailable": None,
    "owner": HERE,
}


def _competitor(implementation: Implementation) -> Row:
    return {
        "description": (type(implementation).__doc__ or "").splitlines()[0],
        "unavailable": implementation.unavailable(),
    }


def _topology(topology: Topology) -> Row:
    return {"description": topology.description, "unavailable": topology.missing or None}


def _registered(registry: Registry[Any], told: Any) -> list[Row]:
    """Return a row for each of `registry`, and for each that another distribution cannot add."""
    rows = [{"name": n, **told(thing), "owner": registry.owner(n)} for n, thing in registry.items()]
    refused = [
        {"name": e.name, "description": "", "unavailable": e.refused, "owner": e.owner}
        for e in registry.refused
    ]
    return rows + refused


def _table(title: str, *heads: str) -> Table:
    """Return a table whose long names go on in the next line, and are never cut."""
    return Table(*(Column(head, overflow="fold") for head in heads), title=title)


def _show(title: str, what: str, rows: Sequence[Row], *columns: Any) -> None:
    heads = {_available: "available", _measured: "measured by sweep"}
    table = _table(title, what, "what it is", *(heads[column] for column in columns))
    for row in rows:
        table.add_row(row["name"], escape(_described(row)), *(column(row) for column in columns))
    console.print(table)


def _described(row: Mapping[str, Any]) -> str:
    owner = row.get("owner", HERE)
    return str(row["description"]) + (f" (of {owner})" if owner != HERE else "")


def _available(row: Mapping[str, Any]) -> str:
    reason = row["unavailable"]
    return f"[yellow]no: {escape(reason)}[/]" if reason else "[green]yes[/]"


def _measured(row: Mapping[str, Any]) -> str:
    names = row["sweeps"]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
