"""`sparsebench models`: many models, each pruned and measured in all its forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.errors import InputError
from sparsebench.measuring import machine
from sparsebench.models import experiment, run
from sparsebench.models.records import load
from sparsebench.output import console, errors, show
from sparsebench.views.tables import printed
from sparsebench.views.tables.writers import write


def models(
    name: Annotated[
        str, typer.Argument(help="A file of experiments/models/, or a path of one's own.")
    ] = "torchvision",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Models whose name has this in it; may be repeated."),
    ] = None,
    phase: Annotated[str | None, typer.Option(help="inference or training alone.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the records; results/models-NAME by default.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    seconds: Annotated[
        float, typer.Option(help="At most this long for a layer whose times are close.")
    ] = 0.1,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for a model in a phase.")] = 600.0,
    list_only: Annotated[
        bool, typer.Option("--list", help="Print what would be measured; measure nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Measure whole models, pruned: dense, masked, sparse and by SparseProp's swapping.

    Each with random weights, pruned by magnitude, in inference and training. A case that has a
    record is skipped, so that a run that was stopped goes on; one that failed is tried again.
    """
    from sparsebench.models import views  # pandas

    asked = experiment.load(name)
    cases = asked.cases(threads=threads or machine.default_threads())
    if only:
        cases = [case for case in cases if any(part in case.model for part in only)]
    if not cases:
        every = dict.fromkeys(model.name for model in asked.models)
        raise InputError(
            f"{name}: has no model of --only {', '.join(only or ())}: it has {', '.join(every)}"
        )
    if phase is not None:
        phases = sorted({case.phase for case in cases})
        cases = [case for case in cases if case.phase == phase]
        if not cases:
            raise InputError(f"{name}: has no --phase {phase}: choose from {', '.join(phases)}")
    folder = out or experiment.folder(name)
    if list_only:
        for case in cases:
            typer.echo(case.key)
        return
    talk = errors if as_json else console
    left = run.pending(cases, folder)
    talk.print(f"{len(cases)} cases, {len(cases) - len(left)} have records", highlight=False)
    for number, record in enumerate(
        run.run(cases, folder, layer_s=seconds, timeout_s=timeout), start=1
    ):
        outcome = "" if record.status == "ok" else f": {record.status}: {record.message}"
        case = record.case
        talk.print(
            f"[{number}/{len(left)}] {case.model}, {case.distribution}, {case.phase}{outcome}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    records = load(folder)
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for table in views.tables(records):
        write(table, tables)
        if not as_json:
            show(printed(table))
    if as_json:
        typer.echo(json.dumps(views.plain(records)))
