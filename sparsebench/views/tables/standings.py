"""The league table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.league import Standing, league
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def standings(points: Sequence[Point]) -> Table:
    """Return the league table of every phase."""
    numbers, text = [], []
    for members in group(points, *CONDITIONS, "phase").values():
        labels = labels_of(members[0])
        labels = {name: labels[name] for name in (*CONDITIONS, "phase")}
        for place in league(members):
            time, memory = place.relative_time, place.memory_ratio
            failures = ", ".join(f"{n} {status}" for status, n in sorted(place.failures.items()))
            row = labels | {"implementation": place.implementation}
            counts = {
                "wins": place.wins,
                "ties": place.outcomes["tie"],
                "fastest, no interval": place.outcomes["fastest"],
                "timed": place.timed,
                "problems": place.problems,
            }
            numbers.append(
                row
                | columns("relative_time", time)
                | counts
                | {"memory_ratio": memory, "failures": failures}
            )
            text.append(
                row
                | {
                    "time over best": "" if time is None else units.interval(time),
                    "wins": wins(place),
                    "ties": str(place.outcomes["tie"]),
                    "timed": f"{place.timed} of {place.problems}",
                    "failures": failures,
                    "memory over dense": "" if memory is None else units.ratio(memory),
                }
            )
    caption = "League: geometric mean of the time over that of the fastest at each problem, with "
    caption += "its 95% interval over problems and processes; who was timed at fewer than nine "
    caption += "tenths of them stands last; problems won, where intervals tell the fastest from "
    caption += "all others, and shared with others; failures; geometric mean of peak memory over "
    caption += "dense"
    return Table("league", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def wins(place: Standing) -> str:
    """Return the problems won; marked those where only one process each says so."""
    unsure = place.outcomes["fastest"]
    parts = [str(place.wins)] if place.wins or not unsure else []
    return " + ".join(parts + [f"{unsure}{units.UNKNOWN}"] * (unsure > 0))
