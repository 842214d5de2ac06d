"""`sparsebench run`: measure the cases of a sweep."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.cases import files
from sparsebench.cluster.target import parse
from sparsebench.commands.report import print_json, show
from sparsebench.errors import InputError
from sparsebench.interruption import Interrupted
from sparsebench.output import console, errors
from sparsebench.records import load

_CLUSTER = "On a cluster (see docs/guides/cluster.md)"


def _completed(begun: str) -> list[str]:
    return [name for name in files.names("sweeps") if name.startswith(begun)]


def run(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep's name, or a path; default, or dlmc where --weights are given.",
            autocompletion=_completed,
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            help="Only cases with FIELD=VALUE[,VALUE], FIELD!=VALUE, or FIELD>=VALUE (also < <= >) "
            "for any field of a case, or width. May be repeated: all have to hold.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Measure the matrices of this file, or of all in this folder, instead of the "
            "sweep's layers: .smtx, .mtx, .npz, .safetensors, PyTorch's .pt and .bin, a Hugging "
            "Face folder; FILE:TENSOR for one of many. May be repeated.",
        ),
    ] = None,
    min_sparsity: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of a checkpoint only tensors with this share of zeros (0.3)."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cases and estimate the time; no more.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(min=0, metavar="MINUTES", help="Begin no new problem after this time."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--fresh", help="Measure what has no record, or everything again."),
    ] = True,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Measure cases without a time, or a disturbed one, again."
        ),
    ] = False,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale",
            help="Measure what was measured with other software than is here now, and its rivals.",
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="More rounds until every speed-up's 95% interval is this narrow, such as 5%.",
        ),
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="CPU threads; may be repeated.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Only this device; may be repeated. Default: every one found."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the records; results/SWEEP by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the order, the connections and all numbers.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Measure on the workers of a Dask cluster: tcp://HOST:PORT or tls://HOST:PORT of "
            "its scheduler, or local:WORKERS to try it out here.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="How long to wait for the scheduler, and for a first worker.",
            rich_help_panel=_CLUSTER,
        ),
    ] = 30.0,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed",
            help="Measure with different versions of sparsebench, torch or the kernels.",
            rich_help_panel=_CLUSTER,
        ),
    ] = False,
    gpus_at_once: Annotated[
        bool,
        typer.Option(
            "--gpus-at-once",
            help="Measure on the GPUs of a machine at the same time, not one by one.",
            rich_help_panel=_CLUSTER,
        ),
    ] = False,
    tls_ca_file: Annotated[
        Path | None,
        typer.Option(help="The authority's certificate, PEM.", rich_help_panel=_CLUSTER),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Our certificate, PEM.", rich_help_panel=_CLUSTER)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key, PEM.", rich_help_panel=_CLUSTER)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the sweep's cases and metrics as JSON.")
    ] = False,
) -> None:
    """Measure the cases of a sweep, and resume where an earlier run stopped."""
    # Each imports torch, which takes seconds that neither help nor TAB should.
    from sparsebench.campaign import run as campaign  # torch
    from sparsebench.campaign.here import Here  # torch
    from sparsebench.campaign.listing import list_cases  # torch
    from sparsebench.campaign.there import Terms, there  # torch
    from sparsebench.cases import drawable, filters, sweep  # torch
    from sparsebench.measuring import isolation  # torch
    from sparsebench.measuring.estimate import Estimator  # torch

    own, name = name is None, name or ("dlmc" if weights else "default")
    asked = sweep.load(name).changed(
        threads=threads, seed=seed, weights=weights, min_sparsity=min_sparsity
    )
    conditions = [filters.parse(text) for text in condition or []]
    target = on and parse(on, ca_file=tls_ca_file, cert=tls_cert, key=tls_key)
    talk = errors if as_json else console  # JSON has the output to itself
    terms = Terms(timeout_s=timeout, allow_mixed=allow_mixed, together=gpus_at_once, talk=talk)
    folder = out or Path("results") / ("weights" if own and weights else Path(name).stem)
    settings = asked.settings(seed or 0)
    if precision is not None:
        settings = replace(settings, precision=_share(precision))
    with there(target, terms) if target and not dry_run else nullcontext(Here(talk)) as place:
        cases = [
            case
            for case in asked.cases(place.devices(device), threads or [place.threads])
            if (not device or case.device in device) and all(holds(case) for holds in conditions)
        ]
        if not cases:
            left_by = " and ".join(condition or ["--device"])
            held = f" with {', '.join(asked.files)}" if asked.files else ""
            raise InputError(f"no case of {name}{held} is left by {left_by}")
        if wrong := drawable.never(cases):
            raise InputError("\n".join(_undrawable(name, *each) for each in wrong.items()))
        if dry_run:
            list_cases(cases, Estimator(settings, load(folder)), as_json=as_json)
            return
        if reason := place.refusal(cases):
            raise InputError(f"no case of {name} can be measured: {reason}")
        deadline = None if budget is None else time.monotonic() + 60 * budget
        campaign.measure(
            cases, folder, settings, resume=resume, retry_failed=retry_failed, stale=stale,
            deadline=deadline, place=place, talk=talk, retry="--retry-failed",
        )  # fmt: skip
    found = load(folder)
    if as_json and not found:
        print_json([])
    if found:
        isolation.end()  # its memory is free for drawing
        try:
            show(found, folder, of=set(cases) if as_json else None)
        except Interrupted:
            errors.print(
                f"interrupted while tables and plots were drawn: all records are in {folder}; "
                f"draw them with: sparsebench report {folder}",
                highlight=False,
                soft_wrap=True,
            )
            raise


def _undrawable(sweep: str, topology: str, why: str) -> str:
    return (
        f"{sweep}: topology {topology} has no connections for any of the layers asked for: {why}; "
        f"change the layers, or leave it out with --filter 'topology!={topology}'"
    )


def _share(text: str) -> float:
    """Return what --precision says as a share: 5% and 0.05 are the same."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise InputError(f"--precision {text}: give a share between 0 and 1, such as 5% or 0.05")
    return share
