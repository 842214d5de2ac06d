"""How soon are changes over commits found, and how often one that is none? Ours beside Otava.

    pip install apache-otava  # optional: without it ours alone
    python benchmarks/change_points.py --out results/reference/check/change-points.json

Series are made up, so that what is true is known: ratios scatter by some percent from commit to
commit (1.0 to 1.2% in the workloads that check measures best: results/reference/check/trial.jsonl),
without outliers, and with one in twenty that scatters three times as much. Every detector sees each
commit when it comes, and speaks of a change once. Found is a shift of 3% after 40 commits that is
spoken of within five, the first of them counted; false alarms are counted on series where nothing
changes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sparsebench.regression.change_points import changes

SHIFT, WITHIN, STEADY = 1.03, 5, 40
SCATTERS = (0.0075, 0.01)
OUTLIERS, WIDER = (0.0, 0.05), 3.0
WINDOW = 60  # commits that Otava sees

Detector = Callable[[Sequence[float], int], list[int]]


def ours(ratios: Sequence[float], begin: int) -> list[int]:
    """Return the commits at which a change is spoken of, from `begin` on."""
    return [change.seen for change in changes(ratios) if change.seen >= begin]


def otava(ratios: Sequence[float], begin: int, chance: float = 0.001) -> list[int]:
    """Return the same of Otava's, asked again at each commit as its users do."""
    from otava.analysis import compute_change_points

    seen: list[int] = []
    known: list[int] = []
    for now in range(max(begin, 8), len(ratios)):
        first = max(0, now + 1 - WINDOW)
        found, _ = compute_change_points(
            list(ratios[first : now + 1]), window_len=30, max_pvalue=chance, min_magnitude=0.0
        )
        places = [first + point.index for point in found]
        # One that moves by a few commits is the one that was spoken of.
        new = [p for p in places if all(abs(p - old) > WITHIN for old in known)]
        known += new
        seen += [now] * bool(new)
    return seen


def series(
    rng: np.random.Generator, count: int, scatter: float, outliers: float, shift: float = 1.0
) -> list[float]:
    """Return ratios that scatter, the last of which, from STEADY on, are shifted."""
    wide = np.where(rng.uniform(size=count) < outliers, WIDER, 1.0)
    ratios = np.exp(scatter * wide * rng.standard_normal(count))
    ratios[STEADY:] *= shift
    return [float(ratio) for ratio in ratios]


def counted(detector: Detector, scatter: float, outliers: float, runs: int) -> dict[str, float]:
    """Return how often the shift was found, and how many false alarms there were."""
    rng = np.random.default_rng(0)
    begin, found = time.process_time(), 0
    for run in range(runs):
        shift = SHIFT if run % 2 else 1 / SHIFT
        found += bool(detector(series(rng, STEADY + WITHIN, scatter, outliers, shift), STEADY))
    alarms = sum(len(detector(series(rng, 100, scatter, outliers), STEADY)) for _ in range(runs))
    return {
        "scatter": scatter, "outliers": outliers, "shifts": runs, "found": found,
        "commits": runs * (100 - STEADY), "alarms": alarms,
        "cpu_s": round(time.process_time() - begin, 1),
    }  # fmt: skip


def main() -> None:
    """Simulate, print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=150, help="shifts, of each scatter")
    parser.add_argument("--otava-runs", type=int, default=30, help="fewer, as it takes longer")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    detectors: dict[str, tuple[Detector, int]] = {"ours": (ours, given.runs)}
    if find_spec("otava") is None:
        print("apache-otava is not installed: ours alone")
    for chance in (1e-3, 1e-5) if find_spec("otava") else ():
        name = f"Apache Otava, p < {chance:g}"
        detectors[name] = (partial(otava, chance=chance), given.otava_runs)
    rows = []
    for name, (detector, runs) in detectors.items():
        for outliers, scatter in itertools.product(OUTLIERS, SCATTERS):
            rows.append({"detector": name, **counted(detector, scatter, outliers, runs)})
            print(json.dumps(rows[-1]), flush=True)
    if given.out is not None:
        lines = ",\n".join(json.dumps(row) for row in rows)
        given.out.write_text(f'{{"shift": {SHIFT}, "within": {WITHIN}, "rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
