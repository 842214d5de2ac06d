"""Base and head in turn, each time in a fresh process; and the verdict.

Processes of both sides alternate as A B B A, so that a steady drift of the machine cancels. What
others do on the machine only ever adds to a time, and to all of a process's times: so a side's time
is the geometric mean of the quickest two fifths of its processes. The interval of the ratio comes
from resampling the processes of each side, because processes differ by more (the layout of memory,
who else was running) than the samples within one do.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench.analysis.compare import verdict
from sparsebench.analysis.estimates import RESAMPLES, Draws, Estimate
from sparsebench.regression import yardstick
from sparsebench.regression.builds import BuildError
from sparsebench.regression.results import Finding, Measure

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

# Measures workloads once, in a fresh process of "base" or "head": what yardstick.run returns.
Probe = Callable[[str, Sequence[str]], Mapping[str, Any]]
SIDES = ("base", "head")


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
    findings = _findings(_measured(probe, names, processes, say), names, tolerance, again=False)
    decided: dict[tuple[str, Measure], Finding] = {}
    suspects = [f for f in findings if _exceeds(f, tolerance)]
    fresh: dict[str, list[Mapping[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(MOST_AGAIN):
        if not suspects:
            break
        again = list(dict.fromkeys(f.workload for f in suspects))
        say(f"suspect, and measured again: {', '.join(again)}")
        for side, answers in _measured(probe, again, processes, say).items():
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


def _key(finding: Finding) -> tuple[str, Measure]:
    return finding.workload, finding.measure


def _exceeds(finding: Finding, tolerance: float) -> bool:
    return finding.ratio is not None and finding.ratio.value > 1 + _SUSPECT * tolerance


def _with_first(finding: Finding, first: Sequence[Finding]) -> Finding:
    """Add what the processes took that made a workload suspect."""
    made = next(f for f in first if _key(f) == _key(finding))
    return finding.model_copy(update={"first": {"base": made.base, "head": made.head}})


def _measured(
    probe: Probe, names: Sequence[str], processes: int, say: Callable[[str], None]
) -> dict[str, list[Mapping[str, Any]]]:
    """Return what the processes of each side measured, in the order A B B A."""
    found: dict[str, list[Mapping[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(processes):
        for side in SIDES if turn % 2 == 0 else reversed(SIDES):
            say(f"process {turn + 1} of {processes}, {side}")
            found[side].append(probe(side, names))
    return found


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
