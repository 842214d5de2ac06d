"""`sparsebench list`: what can be measured, and how it is shown."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from sparsebench import sweep
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.metrics import METRICS
from sparsebench.output import console


def list_() -> None:
    """List implementations, sweeps and metrics."""
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
