"""Do intervals hold what they promise? The figures in docs/design/intervals.md.

    python benchmarks/calibrate.py measure --runs 10 --out build/calibration
    python benchmarks/calibrate.py report build/calibration --out results/reference/calibration.json
    python benchmarks/calibrate.py simulate --out results/reference/calibration-simulated.json
    python benchmarks/calibrate.py stop --out results/reference/calibration-stopped.json

`measure` runs a sweep of 72 cases again and again, each run as `sparsebench run` would, in three
passes. Nothing changes between the runs, so all that they say differently is error: `report` counts
how often an interval holds the median of the other runs' values, how often the intervals of two
runs do not meet, and how many of the 72 cases `compare` calls faster or slower. `simulate` draws
times from a known truth, and counts how often intervals hold it: ours, one from all samples
together, and one from rounds that are drawn with replacement. `stop` does so where rounds are added
until an interval is narrow enough, as by `--precision`: who stops where it happens to be narrow
holds the truth less often.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sparsebench import records
from sparsebench.analysis.compare import compare
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import BASELINE
from sparsebench.analysis.points import points
from sparsebench.analysis.precision import FEWEST
from sparsebench.analysis.series import round_draws, student
from sparsebench.campaign import run as campaign
from sparsebench.cases.settings import MOST_ROUNDS, Settings
from sparsebench.cases.sweep import Grid
from sparsebench.measuring import isolation, machine

GRID = Grid(
    implementation=("dense", "ours", "torch_csr"), width=(256, 512, 1024),
    sparsity=(0.8, 0.9, 0.95, 0.99), batch=(1, 64), phase="inference",
)  # fmt: skip
SAMPLE_S = 0.02

Interval = tuple[float, float, float]


def measure(runs: int, out: Path) -> None:
    """Measure the sweep `runs` times; what is there already counts."""
    cases = GRID.cases(("cpu",), (machine.default_threads(),))
    for number in range(runs):
        isolation.end()  # what is forked from another process lies in memory otherwise
        settings = Settings(sample_s=SAMPLE_S, seed=1000 * number)
        campaign.measure(cases, out / f"run-{number}", settings)


def report(folder: Path) -> dict:
    """Return what the runs in `folder` say of each other."""
    runs = [points(records.load(path.parent)) for path in sorted(folder.rglob(records.FILE_NAME))]
    counts = []
    for a, b in itertools.combinations(runs, 2):
        found = compare(a, b).counts
        counts.append(found["faster"] + found["slower"])
    return {
        "machine": runs[0][0].record.machine,
        "runs": len(runs),
        "rounds": sorted({p.record.round_count for run in runs for p in run}),
        "cases": len(runs[0]),
        "time": agreement([_intervals(run, "time") for run in runs]),
        "speedup": agreement([_intervals(run, "speedup") for run in runs]),
        "same_work": _same_work(runs),
        "compare": {
            "pairs_of_runs": len(counts),
            "mean": round(float(np.mean(counts)), 2),
            "median": float(np.median(counts)),
            "most": max(counts),
        },
    }


def agreement(runs: Sequence[dict[str, Interval]]) -> dict[str, float]:
    """Return how often an interval holds the median of the others, and how often two are apart.

    Each run has the intervals of its cases, as (low, value, high).
    """
    held, apart = [], []
    for name in runs[0]:
        found = [run[name] for run in runs if name in run]
        for number, (low, _, high) in enumerate(found):
            others = [value for other, (_, value, _) in enumerate(found) if other != number]
            held.append(low <= float(np.median(others)) <= high)
        for one, other in itertools.combinations(found, 2):
            apart.append(one[0] > other[2] or other[0] > one[2])
    return {"holds_median_of_others": _share(held), "pairs_apart": _share(apart)}


def simulate(trials: int = 2000) -> list[dict]:
    """Return how often 95% intervals hold the truth, by how many processes were measured."""
    rng, rows = np.random.default_rng(0), []
    kinds: dict[str, Callable[[list[list[float]], str], Estimate]] = {
        "rounds": lambda rounds, name: Estimate.of(round_draws(dict(enumerate(rounds)), name=name)),
        "all samples together": _pooled,
        "rounds drawn with replacement": _redrawn,
    }
    for count, (between, within) in itertools.product((3, 5, 10), ((0.05, 0.02), (0.2, 0.02))):
        held = dict.fromkeys(kinds, 0)
        for trial in range(trials):
            middles = np.exp(rng.normal(0, between, count))
            rounds = [list(m * np.exp(rng.normal(0, within, 20))) for m in middles]
            for kind, interval in kinds.items():
                found = interval(rounds, f"{count} {between} {trial}")
                held[kind] += found.low <= 1 <= found.high
        shares = {kind: round(n / trials, 3) for kind, n in held.items()}
        rows.append({"processes": count, "between": between, "within": within, "held": shares})
    return rows


def stop(trials: int = 4000) -> list[dict]:
    """Return how often intervals hold the truth that were narrow enough to stop, by their rule.

    `narrow` is the share of those that became so narrow within MOST_ROUNDS.
    """
    rng, rows = np.random.default_rng(0), []
    counts = np.arange(1, MOST_ROUNDS + 1)
    reach = np.array([0.0] * 2 + [student(n) / n**0.5 for n in counts[2:]])  # of two: no interval
    for between, asked in itertools.product((0.05, 0.1), (0.05, 0.1)):
        logs = rng.normal(0, between, (trials, MOST_ROUNDS))
        means = logs.cumsum(axis=1) / counts
        squares = np.maximum((logs**2).cumsum(axis=1) - counts * means**2, 0)
        halves = reach * np.sqrt(squares / np.maximum(counts - 1, 1))
        for least in (3, FEWEST):
            narrow = (halves <= np.log(1 + asked)) & (counts >= least)
            narrow[:, -1] = True
            last = narrow.argmax(axis=1)[:, None]
            found, half = (np.take_along_axis(each, last, axis=1) for each in (means, halves))
            rows.append(
                {
                    "between": between,
                    "asked": asked,
                    "least": least,
                    "held": _share(abs(found) <= half),
                    "rounds": round(float(last.mean()) + 1, 1),
                    "narrow": _share(half <= np.log(1 + asked)),
                }
            )
    return rows


def _pooled(rounds: list[list[float]], name: str) -> Estimate:
    """Draw all samples with replacement, as if they were independent."""
    rng = np.random.default_rng(len(name))
    every = np.concatenate(rounds)
    draws = np.median(rng.choice(every, (400, len(every))), axis=1)
    return Estimate.of(np.concatenate([[np.median(every)], draws]))


def _redrawn(rounds: list[list[float]], name: str) -> Estimate:
    """Draw rounds with replacement, and then the samples within them."""
    rng, data = np.random.default_rng(len(name)), np.array(rounds)
    count, samples = data.shape
    chosen = rng.integers(count, size=(400, count, 1))
    within = rng.integers(samples, size=(400, count, samples))
    medians = np.log(np.median(data[chosen, within], axis=2)).mean(axis=1)
    middle = np.exp(np.log(np.median(data, axis=1)).mean())
    return Estimate.of(np.concatenate([[middle], np.exp(medians)]))


def _intervals(run: Sequence, metric: str) -> dict[str, Interval]:
    """Return the intervals of the cases of a run; of dense no speed-up, which is 1."""
    found = {}
    for point in run:
        estimate = METRICS[metric].of(point)
        exact = metric == "speedup" and point.case.implementation == BASELINE
        if estimate is not None and estimate.known and not exact:
            found[point.case.key] = (estimate.low, estimate.value, estimate.high)
    return found


def _same_work(runs: Sequence) -> dict[str, float]:
    """Compare dense at several sparsities, which is the same work, within each run."""
    held, apart = [], []
    for run in runs:
        dense = [p for p in run if p.case.implementation == BASELINE]
        alike: dict[tuple[int, int], list[Interval]] = {}
        for point in dense:
            (interval,) = _intervals([point], "time").values()
            alike.setdefault((point.case.in_features, point.case.batch), []).append(interval)
        for group in alike.values():
            found = agreement([{"dense": interval} for interval in group])
            held.append(found["holds_median_of_others"])
            apart.append(found["pairs_apart"])
    return {
        "holds_median_of_others": round(float(np.mean(held)), 3),
        "pairs_apart": round(float(np.mean(apart)), 3),
    }


def _share(outcomes: Sequence[bool]) -> float:
    return round(float(np.mean(outcomes)), 3)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("measure", "report", "simulate", "stop"))
    parser.add_argument("folder", type=Path, nargs="?", help="of the runs, for report")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.what == "measure":
        measure(given.runs, given.out)
        return
    kinds = {"report": lambda: report(given.folder), "simulate": simulate, "stop": stop}
    found = kinds[given.what]()
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
