"""Base and head measured in turn, each time in a fresh process.

Processes of both sides alternate as A B B A, so that a steady drift of the machine cancels.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsebench.regression import yardstick
from sparsebench.regression.builds import BuildError

# Measures workloads once, in a fresh process of "base" or "head": what yardstick.run returns.
Probe = Callable[[str, Sequence[str]], Mapping[str, Any]]
SIDES = ("base", "head")


def measured(
    probe: Probe, names: Sequence[str], processes: int, say: Callable[[str], None]
) -> dict[str, list[Mapping[str, Any]]]:
    """Return what the processes of each side measured, in the order A B B A."""
    found: dict[str, list[Mapping[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(processes):
        for side in SIDES if turn % 2 == 0 else reversed(SIDES):
            say(f"process {turn + 1} of {processes}, {side}")
            found[side].append(probe(side, names))
    return found


def probe_with(pythons: Mapping[str, Path], folder: Path, seconds: float) -> Probe:
    """Return a probe that runs the yardstick with each side's own Python.

    It raises BuildError where a side does not even run.
    """
    script = Path(yardstick.__file__)
    # Nothing of the asking environment may get in front of the side's own packages.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def probe(side: str, names: Sequence[str]) -> Mapping[str, Any]:
        done = subprocess.run(
            [str(pythons[side]), "-P", str(script), "--seconds", str(seconds), *names],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
        if done.returncode != 0:
            end = "\n".join(done.stderr.strip().splitlines()[-15:])
            raise BuildError(f"the {side} is built, and does not run:\n{end}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if len(names) > 1 and not answer["times"]:  # it does not lack one that is newer
            name, why = next(iter(answer["failed"].items()))
            raise BuildError(
                f"the {side} is built, and runs none of {len(names)} workloads: {name}: {why}"
            )
        return answer

    return probe
