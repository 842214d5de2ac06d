"""`sparsebench compare`: two sets of records against each other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench import output, records
from sparsebench.analysis import compare as comparing
from sparsebench.analysis.estimates import LEAST_ROUNDS, Estimate
from sparsebench.analysis.order import PHASES
from sparsebench.analysis.points import points
from sparsebench.errors import FOUND_WHAT_FAILS, InputError
from sparsebench.output import console, errors
from sparsebench.views import units

_STYLES = {"faster": "green", "slower": "red", "same": "dim", "can't tell": "yellow"}


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Records: a file, or a folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Those to compare with A.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="Ratios up to this far from 1 are the same.")
    ] = 0.05,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            help="End with exit code 4 if a case is: faster, slower, same, or can't tell. "
            "May be repeated.",
        ),
    ] = None,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare records of different machines.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write table (Markdown, CSV, LaTeX) and plot there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Say of every case in two sets of records whether B is faster or slower than A."""
    for word in fail_on or []:
        if word not in comparing.VERDICTS:
            allowed = ", ".join(comparing.VERDICTS)
            raise InputError(f"--fail-on {word}: choose from {allowed}")
    sides = []
    for path in (a, b):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        found = records.load(path)
        if not found:
            raise InputError(f"{path}: holds no record")
        sides.append(points(found))
    result = comparing.compare(*sides, tolerance=tolerance, across_machines=across_machines)
    if across_machines:
        errors.print("[yellow]warning:[/] ratios of different machines compare the machines too")
    if as_json:
        typer.echo(json.dumps(_plain(result)))
    else:
        _show(result, tolerance)
    if out is not None:
        _write(result, out)
    if any(result.counts[word] for word in comparing.VERDICTS if word in (fail_on or [])):
        raise typer.Exit(FOUND_WHAT_FAILS)


def _show(result: comparing.Comparison, tolerance: float) -> None:
    for what, x, y in result.differences:
        console.print(Text.assemble(("differs: ", "yellow"), f"{what}: {x} → {y}"), soft_wrap=True)
    shown = [p for p in result.pairs if p.verdict != "same"]
    phases = {phase: [p for p in shown if p.a.case.phase == phase] for phase in PHASES}
    for phase, pairs in phases.items():
        if pairs:
            console.print(Text(f"\n{phase.replace('_', ' ')}", style="bold"))
            output.show(_table(pairs))
    console.print(Text("\nTime in B over time in A, geometric mean", style="bold"))
    for name, mean in result.means().items():
        console.print(f"{name}: {_interval(mean)}", highlight=False)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in result.counts.most_common())
    console.print(
        f"{len(result.pairs)} cases in both: {counts} (within {units.percent(tolerance)} is the "
        "same, and not listed)",
        highlight=False,
    )
    if result.unsure:
        console.print(
            f"{result.unsure} cannot be told because a side has fewer than {LEAST_ROUNDS} "
            "processes: measure it with more rounds",
            highlight=False,
            style="yellow",
        )
    if result.disturbed:
        console.print(
            f"{result.disturbed} cannot be told because other work disturbed a side",
            highlight=False,
            style="yellow",
        )
    for count, where in (
        (len(result.untimed), "without a time on one side or both"),
        (len(result.only_a), "only in A"),
        (len(result.only_b), "only in B"),
    ):
        if count:
            console.print(f"{count} {where}", highlight=False, style="dim")


def _table(pairs: list[comparing.Pair]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("", overflow="ellipsis", no_wrap=True)  # gives way on a narrow terminal
    for title in ("size", "batch", "sparsity", "A", "B"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("B/A", no_wrap=True)
    table.add_column("", no_wrap=True)
    for pair in sorted(pairs, key=lambda p: p.ratio[0]):  # the worst last, where the eye is
        case, style = pair.a.case, _STYLES[pair.verdict]
        table.add_row(
            case.implementation,
            pair.a.size,
            str(case.batch),
            units.percent(case.sparsity),
            units.quantity(pair.a.seconds.value, "s"),
            units.quantity(pair.b.seconds.value, "s"),
            Text(_interval(pair.estimate), style=style),
            Text(pair.verdict, style=style),
        )
    return table


def _interval(ratio: Estimate) -> str:
    """Return a ratio near 1 with the digits that matter there."""
    ends = ratio.value, ratio.low, ratio.high
    value, low, high = ("" if v != v else units.significant(v, 3 if v >= 1 else 2) for v in ends)
    return f"{value} ({low}–{high})" if ratio.known else value + units.UNKNOWN


def _write(result: comparing.Comparison, folder: Path) -> None:
    from sparsebench.views.plots import comparisons, save  # matplotlib
    from sparsebench.views.tables import write  # pandas
    from sparsebench.views.tables.comparison import comparison  # pandas

    if not result.pairs:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write(comparison(result), folder)
    save(comparisons.comparison(result), folder / "comparison")


def _plain(result: comparing.Comparison) -> dict[str, object]:
    """Return the comparison as JSON has it: times in seconds, ratios with their intervals."""
    return {
        "cases": [
            {
                "case": asdict(pair.a.case),
                "a_s": pair.a.seconds.value,
                "b_s": pair.b.seconds.value,
                "ratio": pair.estimate.plain,
                "verdict": pair.verdict,
            }
            for pair in result.pairs
        ],
        "geometric_mean": {name: mean.plain for name, mean in result.means().items()},
        "counts": dict(result.counts),
        "untimed": [x.case.key for x, _ in result.untimed],
        "only_a": [p.case.key for p in result.only_a],
        "only_b": [p.case.key for p in result.only_b],
        "differences": [{"what": what, "a": x, "b": y} for what, x, y in result.differences],
    }
