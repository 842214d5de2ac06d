"""`sparsebench env`: the machine, and the kernels that run on it."""

from __future__ import annotations

import json
import os
from typing import Annotated

import torch
import typer

from sparsebench.measuring import machine
from sparsebench.output import console
from sparselayers import accelerator
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import calibration
from sparselayers.backends.triton_kernels.tuning import TUNER, Choice

_TYPE = torch.float32


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Print what is recorded of this machine, and which kernels of `sparselayers` run, and why."""
    tuned = TUNER.stored()
    if as_json:
        backends = {name: backend.unavailable() for name, backend in BACKENDS.items()}
        found = {"backends_unavailable": backends, "no_gpu": accelerator.problem()}
        tuning = {"tiles": len(tuned), "seconds": _seconds(tuned)}
        costs = {key: each.seconds for key, each in calibration.stored().items()}
        typer.echo(json.dumps(machine.fingerprint() | found | {"tuning": tuning, "costs": costs}))
        return
    console.print_json(json.dumps(machine.fingerprint()))
    for name, backend in BACKENDS.items():
        missing = backend.unavailable()
        console.print(f"backend {name}: {f'not available: {missing}' if missing else 'available'}")
    chosen = machine.layers_backend()
    why = f", {chosen['isa']}: {chosen['isa_reason']}" if "isa" in chosen else ""
    console.print(f"float32 on the CPU runs on: {chosen['backend']}{why}", soft_wrap=True)
    _print_costs()
    for device in accelerator.devices():
        serving = next(b for b in BACKENDS.values() if b.supports(torch.device(device), _TYPE))
        console.print(f"float32 on {device} runs on: {serving.name}")
    if reason := accelerator.problem():
        console.print(f"no GPU: {reason}", soft_wrap=True)
    if tuned:
        console.print(
            f"tiles of the GPU kernels: {len(tuned)} found in {_seconds(tuned)} s, "
            f"kept in {TUNER.path}",
            soft_wrap=True,
        )


def _print_costs() -> None:
    """Say what the ways to compute on this CPU cost, and where that is kept."""
    if os.environ.get(calibration.VARIABLE) == "off":
        console.print(f"ways on the CPU: by fixed costs ({calibration.VARIABLE}=off)")
        return
    kept = calibration.stored()
    if not kept:
        console.print("ways on the CPU: measured when a layer first needs it, in half a second")
        return
    console.print(f"ways on the CPU: costs kept in {calibration.path()}, of", soft_wrap=True)
    for key, costs in kept.items():
        console.print(f"  {key.split(' | ', 1)[1]}: {costs.seconds} s", soft_wrap=True)


def _seconds(tuned: dict[str, Choice]) -> float:
    return round(sum(choice.seconds for choice in tuned.values()), 1)
