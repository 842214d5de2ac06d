"""Trials that differ in their rates and weight decays alone: methods down, rates across."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from sparsebench.training.groups import Group, alike, kind_name, spread
from sparsebench.training.settings import Setting
from sparsebench.views.tables import Table

BEST = " (best)"


def of(name: str, groups: Sequence[Group]) -> list[Table]:
    """Return a table for each kind of data that such trials were judged on, by images held out.

    A method is what is alike in all but rate and weight decay, and was tried with several of them.
    """
    trials = [group for group in groups if group.setting.held_out]
    return [table for members in alike(trials) for table in _table(name, members)]


def _table(name: str, members: Sequence[Group]) -> list[Table]:
    methods: dict[Setting, list[Group]] = {}
    for group in members:
        methods.setdefault(replace(group.setting, row="", lr=1.0, weight_decay=0.0), []).append(
            group
        )
    several = [
        trials for trials in methods.values() if len(trials) > 1 and any(g.finished for g in trials)
    ]
    if not several:
        return []
    numbers: list[dict[str, Any]] = []
    text: list[dict[str, str]] = []
    rates = sorted({group.setting.lr for trials in several for group in trials})
    for trials in several:
        method = _method([group.setting.row for group in trials])
        best = max((g for g in trials if g.finished), key=_accuracy)  # of equals the first
        for decay in sorted({group.setting.weight_decay for group in trials}):
            cells = {
                group.setting.lr: _ended(group) + (BEST if group is best else "")
                for group in trials
                if group.setting.weight_decay == decay
            }
            text.append(
                {"method": method, "weight decay": f"{decay:g}"}
                | {f"rate {rate:g}": cells.get(rate, "") for rate in rates}
            )
        numbers += [
            {
                "method": method,
                "lr": group.setting.lr,
                "weight decay": group.setting.weight_decay,
                "runs": len(group.finished),
                "accuracy [%]": _accuracy(group) if group.finished else None,
                "best": group is best,
            }
            for group in trials
        ]
    setting = members[0].setting
    caption = (
        f"{name}: accuracy in percent on the last {setting.held_out:,} training images of "
        f"{setting.dataset} after {setting.epochs} epochs, by rate and weight decay"
    )
    file = f"tuning-{name}-{kind_name(setting)}"
    return [Table(file, caption, pd.DataFrame(numbers), pd.DataFrame(text))]


def _ended(group: Group) -> str:
    return spread(group.accuracies()) or ", ".join(group.failed)


def _accuracy(group: Group) -> float:
    return statistics.fmean(group.accuracies())


def _method(rows: Sequence[str]) -> str:
    """Return what the names of rows have in common, of the parts between commas."""
    first, *others = (row.split(", ") for row in rows)
    common = [part for part in first if all(part in other for other in others)]
    return ", ".join(common) or rows[0]
