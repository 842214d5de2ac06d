"""Does a sweep say the same beside other work? It is run twice, and its speed-ups are compared.

    python benchmarks/busy.py measure --out build/busy --filter sparsity=0.5,0.9,0.99
    python benchmarks/busy.py report build/busy --out results/reference/busy.json

`measure` runs a sweep on the machine as it is, and again while a process keeps one core busy; what
is there already counts. `report` takes the speed-ups over the dense layer that decide something on
both (see docs/design/measuring.md), and counts those that are within 1.2 and 1.5 times each other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench import records
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import BASELINE, Point
from sparsebench.analysis.points import points
from sparsebench.measuring.busy_core import busy_core

QUIET, BUSY = "quiet", "busy"
NEAR, FAR = 1.2, 1.5


def measure(sweep: str, out: Path, filters: Sequence[str]) -> None:
    """Run `sweep` into two folders of `out`: on the machine as it is, and beside a busy core."""
    command = [sys.executable, "-m", "sparsebench", "run", sweep]
    command += [part for one in filters for part in ("--filter", one)]
    for name in (QUIET, BUSY):
        with busy_core() if name == BUSY else nullcontext():
            subprocess.run([*command, "--out", str(out / name)], check=True)


def report(folder: Path) -> dict[str, Any]:
    """Return how far the speed-ups of both runs in `folder` are from each other."""
    quiet, busy = (
        {p.case.key: p for p in points(records.load(folder / name))} for name in (QUIET, BUSY)
    )
    cases = [key for key in quiet if key in busy and quiet[key].case.implementation != BASELINE]
    apart, low, high = [], 0, 0
    for key in cases:
        both = [METRICS["speedup"].of(p) for p in (quiet[key], busy[key]) if decides(p)]
        if len(both) == 2 and all(both):
            one, other = both
            apart.append(max(one.value / other.value, other.value / one.value))
            low += other.known and one.known
            high += other.known and one.known and other.low <= one.high and one.low <= other.high
    if not apart:
        raise SystemExit(f"{folder}: no speed-up that decides something is in both runs")
    ratios = np.array(apart)
    return {
        "machine": next(iter(quiet.values())).record.machine,
        "cases": len(cases),
        "decided_on_both": len(apart),
        "disturbed": {
            name: sum(bool(p.disturbed) for p in run.values()) / len(run)
            for name, run in ((QUIET, quiet), (BUSY, busy))
        },
        "median": float(np.median(ratios)),
        f"within_{NEAR}": float(np.mean(ratios <= NEAR)),
        f"within_{FAR}": float(np.mean(ratios <= FAR)),
        "most": float(ratios.max()),
        "intervals_meet": high / low if low else None,
    }


def decides(point: Point) -> bool:
    """Return whether a point has a speed-up that neither side's disturbance spoils."""
    return point.decides and point.baseline is not None and not point.unsure


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    taken = commands.add_parser("measure", help="run a sweep twice")
    taken.add_argument("sweep", nargs="?", default="default")
    taken.add_argument("--out", type=Path, required=True)
    taken.add_argument("--filter", action="append", default=[])
    told = commands.add_parser("report", help="compare both runs")
    told.add_argument("folder", type=Path)
    told.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.sweep, given.out, given.filter)
        return
    found = json.dumps(report(given.folder), indent=1)
    if given.out:
        given.out.write_text(found + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
