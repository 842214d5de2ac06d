"""Tables of whole models, from their records. They never measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from sparsebench.analysis import estimates
from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.series import round_draws
from sparsebench.models.records import FORMS, Form, Layer, ModelRecord
from sparsebench.views import units
from sparsebench.views.tables import Table

_OTHERS = FORMS[1:]
_TITLES = {"sparseprop": "SparseProp"}


def speed_up(record: ModelRecord, form: str) -> Draws | None:
    """Return how often the time of `form` is in the dense one's, with replicas; None without."""
    return over_dense(record.forms, form)


def over_dense(forms: Mapping[str, Form], form: str) -> Draws | None:
    """Return the same of one model's forms."""
    drawn = []
    for name in ("dense", form):
        samples = forms.get(name, Form()).samples
        if not samples:
            return None
        # What is taken in the same round is resampled together.
        drawn.append(round_draws({i: [s] for i, s in enumerate(samples)}, name="round"))
    return np.asarray(drawn[0] / drawn[1])


def disturbed(forms: Mapping[str, Form], form: str) -> bool:
    """Return whether other work spoiled the time of `form` or the dense one's."""
    return any(forms[name].disturbed for name in ("dense", form) if name in forms)


def tables(records: Sequence[ModelRecord]) -> Iterator[Table]:
    """Yield a table over all models, one of their means, and why others have no numbers."""
    whole = [record for record in records if record.status == "ok"]
    if whole:
        yield overview(whole)
        yield means(whole)
    failed = [record for record in records if record.status != "ok"]
    if failed:
        rows = [_label(r) | {"status": r.status, "why": r.message} for r in failed]
        yield _table("models-failed", "Not measured", rows, rows)


def overview(records: Sequence[ModelRecord]) -> Table:
    """Return a row for each case: the dense time, how much faster the forms are, and bytes."""
    numbers, text = [], []
    for record in records:
        dense, sparse = record.forms["dense"], record.forms["sparse"]
        chosen = sum(layer.chosen == "sparse" for layer in record.layers)
        zeros = 1 - record.nonzero / max(1, record.weights)
        row: dict[str, Any] = _label(record) | {"zeros": zeros, "dense [s]": median(dense.samples)}
        step = units.doubtful(units.quantity(median(dense.samples), "s"), dense.disturbed)
        shown = _label(record) | {"dense": step}
        for form in _OTHERS:
            draws = speed_up(record, form)
            title = _TITLES.get(form, form)
            found = None if draws is None else Estimate.of(draws)
            row |= {
                f"{form}": found.value if found else None,
                f"{form} low": found.low if found else None,
                f"{form} high": found.high if found else None,
                f"{form} disturbed": disturbed(record.forms, form),
            }
            shown[title] = (
                units.doubtful(units.interval(found), disturbed(record.forms, form))
                if found
                else "–"
            )
        row |= {"sparse layers": chosen, "measured layers": len(record.layers)}
        shown["layers"] = f"{chosen} of {len(record.layers)}"
        for name, pair in (
            ("memory", (dense.held + dense.peak, sparse.held + sparse.peak)),
            ("checkpoint", (dense.checkpoint, sparse.checkpoint)),
        ):
            row |= {f"{name} dense [B]": pair[0], f"{name} sparse [B]": pair[1]}
            shown[name] = " → ".join(units.quantity(size, "B") for size in pair)
        numbers.append(row)
        text.append(shown)
    caption = (
        "Whole models: time of a step of the dense model, and how many times as fast the others "
        "are; memory that a step needs in all, and the size of a checkpoint, dense → sparse"
    )
    return _table("models", f"{caption}; {_conditions(records)}", numbers, text)


def means(records: Sequence[ModelRecord]) -> Table:
    """Return geometric means over models for each way to prune and phase, and the worst model.

    Those that other work disturbed decide nothing, and are not among them.
    """
    groups: dict[tuple[str, str], list[ModelRecord]] = {}
    for record in records:
        pruned = f"{units.percent(record.case.sparsity)} {record.case.distribution}"
        groups.setdefault((pruned, record.case.phase), []).append(record)
    numbers, text = [], []
    for (pruned, phase), group in groups.items():
        sure = sum(not disturbed(r.forms, "sparse") for r in group)
        row: dict[str, Any] = {"pruned": pruned, "phase": phase, "models": sure}
        shown = {name: str(value) for name, value in row.items()}
        if sure < len(group):
            shown["models"] += f" of {len(group)}"
        for form in _OTHERS:
            drawn = [
                (d, r)
                for r in group
                if (d := speed_up(r, form)) is not None and not disturbed(r.forms, form)
            ]
            title = _TITLES.get(form, form)
            if not drawn:
                shown |= {title: "–", f"slowest, {title}": "–"}
                continue
            mean = Estimate.of(estimates.over_problems([d for d, _ in drawn]))
            least, worst = min((float(d[0]), _name(r)) for d, r in drawn)
            row |= {form: mean.value, f"{form} low": mean.low, f"{form} high": mean.high}
            row |= {f"{form} slowest": least}
            shown |= {title: units.interval(mean)}
            shown |= {f"slowest, {title}": f"{units.ratio(least)} {worst}"}
        numbers.append(row)
        text.append(shown)
    caption = "Geometric means over models: how many times as fast as dense"
    return _table("models-means", f"{caption}; {_conditions(records)}", numbers, text)


def layers(found: Sequence[Layer], caption: str = "Layers") -> Table:
    """Return a row for each layer of one model: shape, sparsity, both times, choice, bytes."""
    numbers = [layer.model_dump() for layer in found]
    text = [
        {
            "layer": layer.path or "(the model)",
            "kind": layer.kind,
            "shape": "×".join(map(str, layer.shape)),
            "sparsity": f"{layer.sparsity:.1%}",
            "dense ms": f"{layer.dense_s * 1e3:.3f}",
            "sparse ms": f"{layer.sparse_s * 1e3:.3f}",
            "sparse / dense": f"{layer.sparse_s / layer.dense_s:.2f}"
            + units.DISTURBED * layer.disturbed
            + f" ({layer.low:.2f}–{'∞' if layer.high is None else f'{layer.high:.2f}'})",
            "chosen": layer.chosen,
            "bytes saved": f"{layer.bytes_saved:,}",
        }
        for layer in found
    ]
    return _table("layers", caption, numbers, text)


def forms(found: Mapping[str, Form], caption: str) -> Table:
    """Return a row for each form of one model: time, speed-up, memory, checkpoint."""
    numbers: list[dict[str, Any]] = []
    text: list[dict[str, Any]] = []
    for name in FORMS:
        form, title = found[name], _TITLES.get(name, name)
        draws = over_dense(found, name)
        if draws is None:
            numbers.append({"form": name, "why": form.message})
            text.append({"form": title, "step": "–", "over dense": "–"})
            continue
        faster = Estimate.of(draws)
        numbers.append(
            {"form": name, "step [s]": median(form.samples), "over dense": faster.value}
            | {"disturbed": form.disturbed}
            | {"low": faster.low, "high": faster.high}
            | {"held [B]": form.held, "peak [B]": form.peak, "checkpoint [B]": form.checkpoint}
        )
        text.append(
            {
                "form": title,
                "step": units.doubtful(units.quantity(median(form.samples), "s"), form.disturbed),
                "over dense": units.doubtful(units.interval(faster), disturbed(found, name))
                if name != "dense"
                else "1",
            }
            | {"parameters": units.quantity(form.held, "B")}
            | {"peak above": units.quantity(form.peak, "B")}
            | {"checkpoint": units.quantity(form.checkpoint, "B")}
        )
    return _table("forms", caption, numbers, text)


def plain(records: Sequence[ModelRecord]) -> list[dict[str, Any]]:
    """Return records as JSON has them, without the machine's description."""
    return [
        record.model_dump(mode="json", exclude={"machine", "forms"})
        | {"machine": record.machine.get("id"), "forms": plain_forms(record.forms)}
        for record in records
    ]


def plain_forms(found: Mapping[str, Form]) -> dict[str, Any]:
    """Return what forms take as JSON has it: seconds are medians, `over_dense` has its interval."""
    shown: dict[str, Any] = {}
    for name, form in found.items():
        draws = over_dense(found, name)
        if draws is None:
            shown[name] = {"message": form.message}
            continue
        shown[name] = {
            "time_s": median(form.samples),
            "over_dense": Estimate.of(draws).plain,
            **form.model_dump(exclude={"samples", "message"}),
        }
    return shown


def _label(record: ModelRecord) -> dict[str, Any]:
    case = record.case
    return {
        "model": _name(record),
        "input": "×".join(map(str, case.input)),
        "pruned": f"{units.percent(case.sparsity)} {case.distribution}",
        "phase": case.phase,
    }


def _name(record: ModelRecord) -> str:
    return record.case.model.removeprefix("torchvision:").removeprefix("transformers:")


def _conditions(records: Sequence[ModelRecord]) -> str:
    case, machine = records[0].case, records[0].machine
    cpu = machine.get("cpu", {}).get("model", "")
    threads = "thread" if case.threads == 1 else "threads"
    return f"{cpu}, {case.threads} {threads}, float32".removeprefix(", ")


def _table(
    name: str, caption: str, numbers: list[dict[str, Any]], text: list[dict[str, Any]]
) -> Table:
    return Table(name, caption, pd.DataFrame(numbers), pd.DataFrame(text).fillna("").astype(str))
