"""`sparsebench env`: the machine, and the kernels that run on it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from layers.backends import BACKENDS
from sparsebench import machine
from sparsebench.output import console


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Print what is recorded of this machine, and which kernels of `layers` run, and why."""
    if as_json:
        backends = {name: backend.unavailable() for name, backend in BACKENDS.items()}
        typer.echo(json.dumps(machine.fingerprint() | {"backends_unavailable": backends}))
        return
    console.print_json(json.dumps(machine.fingerprint()))
    for name, backend in BACKENDS.items():
        missing = backend.unavailable()
        console.print(f"backend {name}: {f'not available: {missing}' if missing else 'available'}")
    chosen = machine.layers_backend()
    why = f", {chosen['isa']}: {chosen['isa_reason']}" if "isa" in chosen else ""
    console.print(f"float32 on the CPU runs on: {chosen['backend']}{why}", soft_wrap=True)
