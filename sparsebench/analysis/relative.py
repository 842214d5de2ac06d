"""What each rival takes over the fastest of its problem that other work left alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.point import Rivals
from sparsebench.analysis.series import draws_of

_ROWS = 40  # of draws at once: as many as the caches hold


def relative(rivals: Rivals) -> dict[str, Estimate]:
    """Return the time of each over that of the fastest, by name."""
    if relate not in rivals.kept:
        relate([rivals])
    found: dict[str, Estimate] = rivals.kept[relate]
    return found


@lru_cache(maxsize=8)
def logs_behind(rivals: Rivals) -> dict[str, Draws]:
    """Return the logarithms of the same with replicas, independent of other problems'."""
    logs = rivals.logs
    return dict(zip(logs, _behind(np.stack([*logs.values()]), rivals.sure), strict=True))


def relate(problems: Iterable[Rivals]) -> None:
    """Find out what `relative` says of many problems: together, in a fraction of the time."""
    alike: dict[tuple[int, ...], list[Rivals]] = defaultdict(list)
    for rivals in {id(each): each for each in problems}.values():
        if relate in rivals.kept:
            continue
        series = [point.rounds for point in rivals.timed.values()]
        if not series:
            rivals.kept[relate] = {}
        elif len(rivals.sure) == 1:  # then there is no least of several
            (first,) = (series[n] for n in rivals.sure)
            rivals.kept[relate] = {
                n: one.over(first) for n, one in zip(rivals.timed, series, strict=True)
            }
        else:
            alike[len(series), *rivals.sure].append(rivals)
    for (count, *sure), found in alike.items():
        step = max(1, _ROWS // count)
        for begin in range(0, len(found), step):
            _relate(found[begin : begin + step], count, sure)


def _relate(problems: Sequence[Rivals], count: int, sure: Sequence[int]) -> None:
    """Do so for problems that have as many rivals, of which the same decide."""
    series = [point.rounds for rivals in problems for point in rivals.timed.values()]
    # Draws of any name will do, which rivals share: they are never compared with other problems'.
    logs = draws_of(series, "").reshape(len(problems), count, -1)
    rows = _behind(logs, sure).reshape(len(series), -1)
    estimates = iter(Estimate.of_logs(rows))
    for rivals in problems:
        rivals.kept[relate] = {name: next(estimates) for name in rivals.timed}


def _behind(logs: Draws, sure: Sequence[int]) -> Draws:
    """Return logarithms (…, rivals, draws) over those of the least of the `sure` rivals."""
    return logs - (logs[..., list(sure), :].min(axis=-2, keepdims=True) if sure else logs)
