"""Every way to train beside the best dense net: accuracy seed by seed, seconds and memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training.groups import Group, alike, best_dense, kind_name, spread
from sparsebench.training.paired import Paired, paired
from sparsebench.views import units
from sparsebench.views.tables import Table

Row = dict[str, Any]


def of(name: str, own: Sequence[Group]) -> list[Table]:
    """Return a table for each kind of training in which runs share seeds with dense ones."""
    made = []
    for members in alike(own):
        for machine in dict.fromkeys(group.machine for group in members):
            here = [group for group in members if group.machine == machine]
            made += _table(name, here, machine if machine != members[0].machine else "")
    return made


def reached(group: Group, accuracy: float) -> float | None:
    """Return after how many seconds the mean of the runs is as accurate; None if never, or untimed.

    Times are those of whole epochs, without tests.
    """
    rounding = 1e-9
    after = zip(group.clock or (), group.curve, strict=False)
    return next((seconds for seconds, a in after if a >= accuracy - rounding), None)


def _table(name: str, members: Sequence[Group], machine: str) -> list[Table]:
    dense = best_dense(members)
    if dense is None:
        return []
    others = [(g, paired(g.by_seed, dense.by_seed)) for g in members if g is not dense]
    compared = [(group, found) for group, found in others if found is not None]
    if not compared:
        return []
    compared.sort(key=lambda each: (each[0].setting.sparsity, -each[1].mean))
    mean = statistics.fmean(dense.accuracies())
    numbers = [_numbers(group, found, dense, mean) for group, found in compared]
    shown = [_shown(group, row) for (group, _), row in zip(compared, numbers, strict=True)]
    setting = dense.setting
    on = f"the last {setting.held_out:,} training images" if setting.held_out else "test images"
    caption = (
        f"{name}: against {setting.row!r}, {mean:.2f}% on {on} of {setting.dataset} after "
        f"{setting.epochs} epochs: differences in points over the seeds of both, p of a paired "
        "t-test, two-sided, not corrected for the number of rows; seconds of training alone, of "
        "all epochs and until the mean is as accurate as dense's last one, and peak memory, each "
        "with its ratio to dense's"
    )
    parts = [name, "against-dense", kind_name(setting)]
    parts += [machine.replace(" ", "-")] if machine else []
    text = pd.DataFrame(shown)
    empty = [column for column in text if set(text[column]) == {""}]
    return [Table("-".join(parts), caption, pd.DataFrame(numbers), text.drop(columns=empty))]


def _numbers(group: Group, found: Paired, dense: Group, accuracy: float) -> Row:
    until, theirs = reached(group, accuracy), reached(dense, accuracy)
    return {
        "row": group.setting.row,
        "sparsity": group.setting.sparsity,
        "accuracy [%]": statistics.fmean(group.accuracies()),
        "difference": found.mean,
        "difference deviation": found.deviation,
        "seeds": found.runs,
        "p": found.p,
        "seconds": group.seconds,
        "seconds / dense": _ratio(group.seconds, dense.seconds),
        "seconds to dense": until,
        "seconds to dense / dense": _ratio(until, theirs),
        "peak memory [B]": group.peak_memory,
        "peak memory / dense": _ratio(group.peak_memory, dense.peak_memory),
    }


def _shown(group: Group, row: Row) -> dict[str, str]:
    timed = row["seconds"] is not None
    until = _beside(row["seconds to dense"], row["seconds to dense / dense"], "s")
    return {
        "row": row["row"],
        "sparsity": units.percent(row["sparsity"]),
        "accuracy": spread(group.accuracies()),
        "against dense": f"{row['difference']:+.2f} ± {row['difference deviation']:.2f}",
        "seeds": str(row["seeds"]),
        "p": f"{row['p']:.3f}" if row["p"] >= 0.0005 else "< 0.001",
        "seconds": _beside(row["seconds"], row["seconds / dense"], "s"),
        "to dense's accuracy": until or ("not reached" if timed else ""),
        "peak memory": _beside(row["peak memory [B]"], row["peak memory / dense"], "B"),
    }


def _beside(value: float | None, ratio: float | None, unit: str) -> str:
    if value is None:
        return ""
    said = units.quantity(value, unit)
    return said if ratio is None else f"{said} ({units.ratio(ratio)})"


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
