"""The verdict about base and head, of what their processes measured in turn.

What others do on the machine only ever adds to a time, and to all of a process's times: so a side's
time is the geometric mean of the quickest two fifths of its processes. The interval of the ratio
comes from resampling the processes of each side, because processes differ by more (the layout of
memory, who else was running) than the samples within one do.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sparsebench.analysis.compare import verdict
from sparsebench.analysis.estimates import RESAMPLES, Draws, Estimate
from sparsebench.regression import yardstick
from sparsebench.regression.results import Finding, Measure
from sparsebench.regression.turns import SIDES, Probe, measured

LEAST_PROCESSES = 5
MOST_AGAIN = 6
TOLERANCE = 0.10
QUICKEST = 0.4  # of the processes: with three in ten disturbed, those are hardly among them
# A workload is measured again above this share of the tolerance: five processes of each side miss
# one that is slower by twice the tolerance in a percent of cases.
# docs/guides/performance-check.md has how often each slow-down is caught; benchmarks/check_power.py
# measures it.
_SUSPECT = 0.4
# Bytes: less than this is pages and pools, and no matter.
_MEMORY_FLOOR = 1 << 18


def judged(
    probe: Probe,
    names: Sequence[str],
    *,
    processes: int = LEAST_PROCESSES,
    tolerance: float = TOLERANCE,
    say: Callable[[str], None] = lambda text: None,
) -> list[Finding]:
    """Measure `names` on both sides and judge each; what is suspect is measured again first.

    Suspect is what took longer by more than a part of the tolerance, however uncertain. Its verdict
    comes from fresh processes alone: the ones that made it suspect are biased against it, and stay
    in the finding. As long as these cannot tell, more are run, for MOST_AGAIN rounds.
    """
    say(f"{len(names)} workloads, {processes} processes of each side in turn")
    findings = _findings(measured(probe, names, processes, say), names, tolerance, again=False)
    decided: dict[tuple[str, Measure], Finding] = {}
    suspects = [f for f in findings if _exceeds(f, tolerance)]
    fresh: dict[str, list[Mapping[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(MOST_AGAIN):
        if not suspects:
            break
        again = list(dict.fromkeys(f.workload for f in suspects))
        say(f"suspect, and measured again: {', '.join(again)}")
        for side, answers in measured(probe, again, processes, say).items():
            fresh[side] += answers
        wanted = {(f.workload, f.measure) for f in suspects}
        found = _findings(fresh, again, tolerance, again=True)
        decided |= {_key(f): _with_first(f, findings) for f in found if _key(f) in wanted}
        suspects = [
            f for f in found
            if _key(f) in wanted and _exceeds(f, tolerance) and f.verdict not in ("slower", "same")
        ]  # fmt: skip
    return [decided.get(_key(f), f) for f in findings]


def ratio(base: Sequence[float], head: Sequence[float], *, name: str) -> Estimate:
    """Return head over base, of the quickest processes, with its 95% bootstrap interval.

    The log ratio is resampled: each side's processes with replacement. `name` seeds the draws.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def draws(values: Sequence[float]) -> Draws:
        logs = np.log(np.asarray(values, dtype=np.float64))
        chosen = rng.integers(len(logs), size=(RESAMPLES + 1, len(logs)))
        chosen[0] = np.arange(len(logs))
        return _quickest(logs[chosen])

    below = draws(base)
    return Estimate.of(np.asarray(np.exp(draws(head) - below)))


def typical(values: Sequence[float]) -> float:
    """Return a side's time, or its bytes, from those of its processes: of the quickest."""
    return float(np.exp(_quickest(np.log(np.asarray([values], dtype=np.float64)))[0]))


def _quickest(logs: Draws) -> Draws:
    """Return, along the last axis, the mean of the lowest QUICKEST of the values."""
    count = math.ceil(QUICKEST * logs.shape[-1])
    return np.asarray(np.partition(logs, count - 1, axis=-1)[..., :count].mean(axis=-1))


def _key(finding: Finding) -> tuple[str, Measure]:
    return finding.workload, finding.measure


def _exceeds(finding: Finding, tolerance: float) -> bool:
    return finding.ratio is not None and finding.ratio.value > 1 + _SUSPECT * tolerance


def _with_first(finding: Finding, first: Sequence[Finding]) -> Finding:
    """Add what the processes took that made a workload suspect."""
    made = next(f for f in first if _key(f) == _key(finding))
    return finding.model_copy(update={"first": {"base": made.base, "head": made.head}})


def _findings(
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    names: Sequence[str],
    tolerance: float,
    *,
    again: bool,
) -> list[Finding]:
    findings = []
    for name in names:
        times = _values(found, "times", name)
        if not all(times.values()):
            findings.append(_failed(found, name, times, again))
            continue
        findings.append(_judged(name, "time", times, tolerance, again))
        peaks = _values(found, "memory", name)
        if all(peaks.values()):
            findings.append(_judged(name, "memory", peaks, tolerance, again))
    return findings


def _values(
    found: Mapping[str, Sequence[Mapping[str, Any]]], what: str, name: str
) -> dict[str, list[float]]:
    kind = yardstick.OURS
    return {
        side: [a[what][name][kind] for a in found[side] if kind in a.get(what, {}).get(name, {})]
        for side in SIDES
    }


def _judged(
    name: str, measure: Measure, values: Mapping[str, list[float]], tolerance: float, again: bool
) -> Finding:
    floor = _MEMORY_FLOOR if measure == "memory" else 0.0
    base, head = ([value + floor for value in values[side]] for side in SIDES)
    estimate = ratio(base, head, name=f"{name} {measure}")
    return Finding(
        workload=name,
        measure=measure,
        base=[_round(v) for v in values["base"]],
        head=[_round(v) for v in values["head"]],
        ratio=estimate,
        verdict=verdict(estimate, tolerance),
        again=again,
    )


def _failed(
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    name: str,
    times: Mapping[str, list[float]],
    again: bool,
) -> Finding:
    """Return why a workload has no ratio: it speaks against the head if only the head fails."""
    messages = {
        side: next((a["failed"][name] for a in found[side] if name in a["failed"]), "")
        for side in SIDES
    }
    if times["base"]:
        return Finding(
            workload=name, measure="time", verdict="broken", again=again, message=messages["head"]
        )
    new = bool(times["head"])
    return Finding(
        workload=name,
        measure="time",
        verdict="not in base" if new else "no time",
        again=again,
        message=messages["base"],
    )


def _round(value: float) -> float:
    return float(f"{value:.5g}")
