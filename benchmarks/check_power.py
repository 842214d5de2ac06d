"""How often does the check catch what is slower, and blame what is not? The curve in docs/.

    python benchmarks/check_power.py --out results/reference/check/power.json

Measurements are made up, so that what is true is known: 15 workloads, of which one is slower by a
factor; a process's times scatter by 5%; three processes in ten are disturbed, and take up to twice
as long, whatever they measure. What a check would take is counted from the processes it asks for:
2.5 s each to begin, and 0.9 s for each workload (what they took where whole.jsonl was recorded).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from sparsebench.regression import judging

FACTORS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5)
SCATTER, DISTURBED, WORKLOADS = 0.05, 0.3, 15
PROCESS_S, WORKLOAD_S = 2.5, 0.9


class MadeUp:
    """A probe: what processes measure of workloads, and what that would have taken."""

    def __init__(self, seed: int, factor: float) -> None:
        self.rng, self.factor, self.seconds = np.random.default_rng(seed), factor, 0.0

    def __call__(self, side: str, names: list[str]) -> dict:
        """Return the times of one process."""
        self.seconds += PROCESS_S + WORKLOAD_S * len(names)
        hit = 1 + (self.rng.uniform() if self.rng.uniform() < DISTURBED else 0)
        times = {name: hit * np.exp(self.rng.normal(0, SCATTER)) for name in names}
        if side == "head" and "slower" in times:
            times["slower"] *= self.factor
        ours = {name: {"ours": float(time)} for name, time in times.items()}
        return {"times": ours, "memory": {}, "failed": {}}


def trial(seed: int, factor: float) -> tuple[bool, bool, float]:
    """Return whether the slower workload was caught, whether another was blamed, and seconds."""
    probe = MadeUp(seed, factor)
    names = ["slower", *(f"same-{n}" for n in range(1, WORKLOADS))]
    verdicts = {f.workload: f.verdict for f in judging.judged(probe, names)}
    blamed = {name for name, verdict in verdicts.items() if verdict == "slower"}
    return "slower" in blamed, bool(blamed - {"slower"}), probe.seconds


def main() -> None:
    """Run the trials and write their counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="of each factor")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = []
    for number, factor in enumerate(FACTORS):
        outcomes = [trial(1_000_000 * number + run, factor) for run in range(given.runs)]
        caught, blamed, seconds = zip(*outcomes, strict=True)
        rows.append(
            {
                "factor": factor,
                "runs": given.runs,
                "caught": sum(caught),
                "false_alarms": sum(blamed),
                "seconds": round(float(np.mean(seconds))),
                "seconds_95": round(float(np.quantile(seconds, 0.95))),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    rule = {"processes": judging.LEAST_PROCESSES, "again": judging.MOST_AGAIN}
    rule |= {"tolerance": judging.TOLERANCE, "quickest": judging.QUICKEST}
    world = {"scatter": SCATTER, "disturbed": DISTURBED, "workloads": WORKLOADS}
    given.out.write_text(json.dumps({"rule": rule, "world": world, "curve": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
