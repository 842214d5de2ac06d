"""What the explorer of the page answers from: every problem, and what is known of its rivals.

Numbers only: the page's own script makes sentences, a table and a plot of them. Words are told
once, and named by their number after that, so that thousands of cases take little room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sparsebench.analysis import together
from sparsebench.analysis.estimates import LEAST_ROUNDS, Estimate
from sparsebench.analysis.league import outcome_of
from sparsebench.analysis.machines import machine_names, place
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import PHASES
from sparsebench.analysis.point import Point
from sparsebench.cases import sweep
from sparsebench.cases.case import USUAL
from sparsebench.views.page.chapter import Chapter
from sparsebench.views.plots import style

# What a problem is, in the order in which the explorer asks; `source` says whose records.
FIELDS = (
    "where", "dtype", "operation", "phase", "layer", "topology", "seed", *USUAL, "batch",
    "sparsity", "source",
)  # fmt: skip
_WORDS = {*FIELDS} - {"seed", "batch", "sparsity", "input_sparsity"}
_SHAPE = ("in_features", "out_features", "kernel", "stride", "padding", "groups", "image")
_LONGEST = 160  # letters of a message


def explored(chapters: Sequence[Chapter]) -> dict[str, Any]:
    """Return what the script reads: `words`, and `problems` with a row for each implementation.

    A problem is a value for each of FIELDS, what its records say of themselves (chapter, date,
    commit, PyTorch, threads, device), and its rows: see `_row`.
    """
    words: dict[str, int] = {}
    layers: dict[str, list[int]] = {}
    names = machine_names(p.record.machine for c in chapters for p in c.points)
    found = []
    for chapter in chapters:
        together.work_out(chapter.points)
        for members in _problems(chapter.points):
            case, record = members[0].case, _newest(members).record
            layers.setdefault(members[0].size, [getattr(case, name) for name in _SHAPE])
            values = {
                "where": place(case, names[str(record.machine.get("id", ""))]),
                "layer": members[0].size,
                "source": f"{chapter.name}, {record.started[:10] or 'undated'}",
            }
            told = (*map(str, _origin(record.machine)), case.device, chapter.name)
            found.append(
                [
                    [
                        _word(value, words) if name in _WORDS else value
                        for name in FIELDS
                        for value in [values.get(name) or getattr(case, name, "")]
                    ],
                    [*(_word(text, words) for text in told), case.threads],
                    list(_rows(members, words)),
                ]
            )
    implementations = sorted({p.case.implementation for c in chapters for p in c.points})
    return {
        "fields": FIELDS, "words": list(words), "problems": found, "layers": layers,
        "shape": _SHAPE, "phases": PHASES, "usual": USUAL, "sweeps": sweep.names(),
        "texts": sorted(_WORDS), "fewest": LEAST_ROUNDS,
        "colours": {n: style.of(n, implementations)["color"] for n in implementations},
    }  # fmt: skip


def _problems(points: Iterable[Point]) -> Iterable[list[Point]]:
    """Return the points that a ratio may be taken of: rivals, as far as they are shown."""
    found: dict[int, list[Point]] = {}
    for point in points:
        found.setdefault(id(point.rivals), []).append(point)
    return found.values()


def _rows(problem: Sequence[Point], words: dict[str, int]) -> Iterator[list[Any]]:
    """Yield what is known of each implementation, the fastest first, those that failed last.

    Name, status, why it decides nothing or has no time, outcome, and as value, low, high: seconds,
    over the fastest, dense over it; then bytes at the peak, and over dense's.
    """
    outcomes = outcome_of(problem)
    for point in sorted(problem, key=lambda p: p.seconds.value if p.ok else math.inf):
        estimates = [METRICS[n].of(point) for n in ("time", "relative_time", "speedup")]
        memory, share = (METRICS[name].of(point) for name in ("peak_memory", "memory_ratio"))
        name, why = point.case.implementation, point.disturbed if point.ok else point.record.message
        yield [
            _word(name, words), _word(point.record.status, words),
            _word(" ".join(why.split())[:_LONGEST], words), _word(outcomes.get(name, ""), words),
            *map(_ends, estimates),
            None if memory is None else int(memory.value),
            None if share is None else _short(share.value),
        ]  # fmt: skip


def _ends(estimate: Estimate | None) -> list[float | None] | None:
    """Return value, low, high; the value alone where there is no interval, or it has no width."""
    if estimate is None:
        return None
    if not estimate.known:
        return [_short(estimate.value), None, None]
    return [_short(e) for e in (estimate.value, estimate.low, estimate.high)]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _word(text: Any, words: dict[str, int]) -> int:
    return words.setdefault(str(text), len(words))


def _newest(members: Sequence[Point]) -> Point:
    return max(members, key=lambda point: point.record.started)


def _origin(machine: Any) -> tuple[str, str]:
    """Return the commit that was measured, and the release of PyTorch."""
    commit = machine.get("sparsebench", {}).get("commit") or "unknown"
    return commit, machine.get("torch", {}).get("version") or "unknown"
