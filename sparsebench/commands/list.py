"""`sparsebench list`: what can be measured, and how it is shown."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sparsebench.analysis.metrics import METRICS
from sparsebench.cases import sweep
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.output import console


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """List implementations, sweeps and metrics."""
    if as_json:
        typer.echo(json.dumps(_plain()))
        return
    table = Table("implementation", "what it is", "available", title="Implementations")
    for name, implementation in IMPLEMENTATIONS.items():
        reason = implementation.unavailable()
        available = f"[yellow]no: {escape(reason)}[/]" if reason else "[green]yes[/]"
        table.add_row(name, (type(implementation).__doc__ or "").splitlines()[0], available)
    console.print(table)
    table = Table("sweep", "what it asks", title="Sweeps")
    for name in sweep.names():
        table.add_row(name, sweep.load(name).description)
    console.print(table)
    table = Table("metric", "unit", "what it is", title="Metrics")
    for metric in METRICS.values():
        table.add_row(metric.name, metric.unit, metric.description)
    console.print(table)


def _plain() -> dict[str, list[dict[str, Any]]]:
    return {
        "implementations": [
            {
                "name": name,
                "description": (type(implementation).__doc__ or "").splitlines()[0],
                "unavailable": implementation.unavailable(),
            }
            for name, implementation in IMPLEMENTATIONS.items()
        ],
        "sweeps": [
            {"name": name, "description": sweep.load(name).description} for name in sweep.names()
        ],
        "metrics": [
            {"name": metric.name, "unit": metric.unit, "description": metric.description}
            for metric in METRICS.values()
        ],
    }
