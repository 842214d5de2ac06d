"""The table of networks over text: what they predict after the same time. They never measure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from sparsebench.training.datasets import text
from sparsebench.training.groups import Group, groups, mean_and_deviation
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import GPTSetting
from sparsebench.views import units
from sparsebench.views.tables import Table

Row = dict[str, Any]


def of(records: Sequence[TrainingRecord]) -> list[Table]:
    """Return a table for each experiment, text, length and machine that `records` have."""
    return [_table(name, own) for name, own in sorted_out(records)]


def sorted_out(records: Sequence[TrainingRecord]) -> Iterator[tuple[str, list[Group]]]:
    """Yield the groups that may be compared, with a name: of equal text, length and machine."""
    kinds: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups([r for r in records if isinstance(r.setting, GPTSetting)]):
        s = group.setting
        assert isinstance(s, GPTSetting)
        length = s.seconds or s.epochs * s.steps_per_epoch
        kind = s.experiment, s.dataset, bool(s.seconds), length, group.machine
        kinds.setdefault(kind, []).append(group)
    first = {kind[0] for kind in kinds}
    for number, (kind, own) in enumerate(kinds.items()):
        yield kind[0] + ("" if len(kinds) == len(first) else f"-{number + 1}"), own


def perplexities(group: Group) -> list[float]:
    """Return what each finished run ended with."""
    last = [group.setting.METRIC.of(run.epochs[-1]) for run in group.finished]
    return [value for value in last if value is not None]


def best_dense(own: Sequence[Group]) -> float | None:
    """Return the lowest mean perplexity that a dense network ended with."""
    dense = [perplexities(group) for group in own if group.setting.model == "dense"]
    return min((statistics.fmean(values) for values in dense if values), default=None)


def trained_for(own: Sequence[Group]) -> str:
    """Say how long the networks of a table were trained."""
    s = own[0].setting
    assert isinstance(s, GPTSetting)
    if s.seconds:
        return f"{s.seconds:,.10g} s of training"
    return f"{s.epochs * s.steps_per_epoch:,} steps"


def _table(name: str, own: list[Group]) -> Table:
    dense = best_dense(own)
    numbers = [_numbers(group, dense) for group in own]
    shown = [_shown(group, row) for group, row in zip(own, numbers, strict=True)]
    first = (*own[0].runs, *own[0].timed)[0]
    threads = sorted({n for group in own for n in group.threads})
    caption = (
        f"{own[0].setting.experiment}: perplexity of a character of {first.setting.dataset} that "
        f"was not trained on, after {trained_for(own)}, tests not counted, on "
        f"{' or '.join(map(str, threads)) or 'unknown'} threads of {own[0].machine}; the best "
        "dense network is what others are compared with, and less is better; weights of the "
        "feed-forward parts; memory above the process before the network was built"
    )
    return Table(name, caption, pd.DataFrame(numbers), pd.DataFrame(shown).fillna(""))


def _numbers(group: Group, dense: float | None) -> Row:
    s, values = group.setting, perplexities(group)
    assert isinstance(s, GPTSetting)
    mean, deviation = mean_and_deviation(values) if values else (None, None)
    one = (*group.runs, *group.timed)[0]
    steps = [_steps(run) for run in group.finished]
    samples = [
        sample / run.timing.steps
        for run in group.timed
        if run.timing is not None
        for sample in run.timing.samples
    ]
    return {
        "machine": group.machine,
        "row": s.row,
        "dataset": s.dataset,
        "sparsity": s.sparsity if s.model == "sparse" else 0.0,
        "structure": s.structure,
        "rewiring": s.rewiring,
        "feed-forward width": s.ff_width,
        "feed-forward weights": feed_forward_weights(one),
        "weights": one.weights,
        "runs": len(values),
        "steps": round(statistics.fmean(steps)) if steps else None,
        "seconds": statistics.fmean(map(_seconds, group.finished)) if steps else None,
        "seconds per step": statistics.median(samples) if samples else None,
        "perplexity": mean,
        "perplexity deviation": deviation,
        "bits per character": math.log2(mean) if mean else None,
        "over dense": mean / dense - 1 if mean and dense else None,
        "peak memory [B]": group.peak_memory,
    }


def _shown(group: Group, row: Row) -> dict[str, str]:
    fates = ", ".join(f"{count} {status}" for status, count in group.failed.items())
    deviation = row["perplexity deviation"]
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    missing = fates or "not yet measured"
    return {
        "row": row["row"],
        "sparsity": units.percent(row["sparsity"]) if row["sparsity"] else "",
        "width": f"{row['feed-forward width']:,}",
        "weights": f"{row['feed-forward weights']:,}",
        "perplexity": missing if row["perplexity"] is None else f"{row['perplexity']:.3f}{spread}",
        "bits": _number(row["bits per character"], "{:.3f}"),
        "over dense": _number(row["over dense"], "{:+.1%}"),
        "steps": _number(row["steps"], "{:,}"),
        "ms a step": _number(row["seconds per step"], "{:.0f}", 1e3),
        "memory": "" if group.peak_memory is None else units.quantity(group.peak_memory, "B"),
    }


def feed_forward_weights(record: TrainingRecord) -> int:
    """Return how many weights the feed-forward parts of a network have: all but the others."""
    s = record.setting
    assert isinstance(s, GPTSetting)
    return max(0, record.weights - 4 * s.layers * s.width**2 - s.width * text.SIZE)


def _steps(run: TrainingRecord) -> int:
    s = run.setting
    assert isinstance(s, GPTSetting)
    return sum(s.steps_per_epoch if e.steps is None else e.steps for e in run.epochs)


def _seconds(run: TrainingRecord) -> float:
    return sum(epoch.seconds or 0.0 for epoch in run.epochs)


def _number(value: float | None, form: str, factor: float = 1) -> str:
    return "" if value is None else form.format(factor * value)
