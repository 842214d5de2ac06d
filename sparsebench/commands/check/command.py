"""`sparsebench check`: whether a change made the layers slower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.commands.check import against_base, sides, trip_wires
from sparsebench.commands.check import instructions as executed
from sparsebench.errors import InputError
from sparsebench.regression import instructions, judging, results, yardstick


def check(
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REV", help="What to compare with; by default the commit before the changes."
        ),
    ] = None,
    only_wires: Annotated[
        bool, typer.Option("--trip-wires", help="Only ratios that hold on any machine; seconds.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update-trip-wires", help="Measure the trip wires and write them.")
    ] = False,
    because: Annotated[
        str | None, typer.Option(help="Why the trip wires change; goes into their file.")
    ] = None,
    by_instructions: Annotated[
        bool,
        typer.Option(
            "--instructions",
            help="Compare how many instructions the kernels execute: no noise; needs valgrind.",
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only workloads like training-*; may be repeated."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=judging.LEAST_PROCESSES, help="Of each side.")
    ] = judging.LEAST_PROCESSES,
    seconds: Annotated[
        float, typer.Option(min=0.001, help="For each workload in a process.")
    ] = 0.15,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How much slower is still the same, or how many more instructions.",
            show_default=f"{judging.TOLERANCE:g}, of instructions {instructions.TOLERANCE:g}",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the results.")] = results.FOLDER,
    markdown: Annotated[
        Path | None, typer.Option(help="Write verdict and table there, as Markdown.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Compare this working tree's speed and memory with an earlier revision's, in turn.

    Exit codes: 0 not slower, or there is nothing to compare with; 3 a side cannot be built or
    does not run; 4 something is slower by more than the tolerance, or executes more instructions,
    or a trip wire was tripped.
    """
    if because and not update:
        raise InputError("--because goes with --update-trip-wires")
    if by_instructions:
        if only_wires or update:
            raise InputError("--instructions compares with a base: trip wires are checked alone")
        executed.check(
            base, only or (), out, markdown, as_json=as_json,
            tolerance=instructions.TOLERANCE if tolerance is None else tolerance,
        )  # fmt: skip
        return
    names = _chosen(only)
    if update:
        trip_wires.update(because, names, as_json=as_json)
    elif only_wires:
        trip_wires.check(names, seconds, out, as_json=as_json)
    else:
        against_base.check(
            base, names, out, markdown, as_json=as_json,
            processes=processes, seconds=seconds,
            tolerance=judging.TOLERANCE if tolerance is None else tolerance,
        )  # fmt: skip


def _chosen(patterns: Sequence[str] | None) -> list[str]:
    names = sides.like(yardstick.WORKLOADS, patterns)
    if not names:
        raise InputError(
            f"--only {' '.join(patterns or [])}: no such workload: choose from "
            f"{', '.join(yardstick.WORKLOADS)}"
        )
    return names
