"""`sparsebench env`: the machine, and the kernels that run on it."""

from __future__ import annotations

import json

from layers.backends import BACKENDS
from sparsebench import machine
from sparsebench.output import console


def env() -> None:
    """Print what is recorded of this machine, and which kernels of `layers` run, and why."""
    console.print_json(json.dumps(machine.fingerprint()))
    for name, backend in BACKENDS.items():
        missing = backend.unavailable()
        console.print(f"backend {name}: {f'not available: {missing}' if missing else 'available'}")
    chosen = machine.layers_backend()
    why = f", {chosen['isa']}: {chosen['isa_reason']}" if "isa" in chosen else ""
    console.print(f"float32 on the CPU runs on: {chosen['backend']}{why}", soft_wrap=True)
