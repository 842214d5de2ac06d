"""Schedules that are counted in steps, of runs that are shorter or longer than their rows say."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from sparsebench.errors import InputError
from sparsebench.training import datasets
from sparsebench.training.settings import CifarSetting, MLPSetting, Setting

Rewired = MLPSetting | CifarSetting


def in_proportion(
    settings: Sequence[Setting], rows: Sequence[Setting], images: int, *, given: Container[str]
) -> tuple[list[Setting], list[str]]:
    """Return `settings` with schedules that end at the same share of the training as in their rows.

    And what that changed, in words. `rows` are what an experiment's file says, `settings` what
    options made of each, with so many training `images` at hand. Fields that were `given` as
    options stay; so does an end that the row's own training does not reach. Rewirings and prunings
    keep their number an epoch.

    Raises InputError for a setting whose training ends before it is as sparse as it is to be.
    """
    made: list[Setting] = []
    moved: list[str] = []
    for setting, row in zip(settings, rows, strict=True):
        changes: dict[str, Any] = {}
        if isinstance(setting, Rewired):
            changes = _changes(setting, row, images)
        changes = {name: steps for name, steps in changes.items() if name not in given}
        for name, steps in changes.items():
            if steps != (before := getattr(setting, name)):
                moved.append(f"{name} {steps:,} in place of {before:,}")
        made.append(replace(setting, **changes))
        _check_reached(made[-1], images)
    return made, list(dict.fromkeys(moved))


def _changes(setting: Rewired, row: Setting, images: int) -> dict[str, int]:
    # Of CIFAR-10 there is as much as there is; rows say how much of it they train on.
    theirs = images if isinstance(row, CifarSetting) else datasets.training_images(row.dataset)
    if not isinstance(row, Rewired) or theirs is None:
        return {}
    before, now = _steps(row, theirs), _steps(setting, images)
    if before == now or 0 in (*before, *now):
        return {}
    changes: dict[str, int] = {}
    if setting.rewiring != "none" and row.stop_after <= before[1]:
        changes["stop_after"] = _scaled(row.stop_after, before[1], now[1])
    if isinstance(row, MLPSetting) and row.annealing != "none" and row.anneal_until <= before[1]:
        begin = _scaled(row.anneal_from, before[1], now[1])
        end = _scaled(row.anneal_until, before[1], now[1])
        changes |= {"anneal_from": begin, "anneal_until": max(begin + 1, end)}
    if changes:
        changes["update_every"] = _scaled(row.update_every, before[0], now[0])
    return changes


def _check_reached(setting: Setting, images: int) -> None:
    if not isinstance(setting, MLPSetting) or setting.annealing == "none":
        return
    steps = _steps(setting, images)[1]
    if 0 < steps < setting.anneal_until:
        raise InputError(
            f"row {setting.row!r} becomes sparser until step {setting.anneal_until}, its "
            f"anneal_until, and its training ends at step {steps}: choose {steps} or less"
        )


def _steps(setting: Rewired, images: int) -> tuple[int, int]:
    """The steps of an epoch, and of the whole training."""
    left = images - setting.held_out
    each = (min(left, setting.images) if setting.images else left) // setting.batch
    return each, each * setting.epochs


def _scaled(steps: int, before: int, now: int) -> int:
    """Return at which of `now` steps is what was at `steps` of `before`; 0 stays, others do not."""
    return max(min(steps, 1), round(steps * now / before))
