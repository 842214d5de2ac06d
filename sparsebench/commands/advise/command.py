"""`sparsebench advise`: which implementation to use here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench import advisor, output
from sparsebench.advisor.failures import failures
from sparsebench.analysis.point import BASELINE
from sparsebench.commands.advise import structures
from sparsebench.errors import InputError
from sparsebench.measuring import machine
from sparsebench.output import console, errors
from sparsebench.records import load
from sparsebench.views import units


def advise(
    in_features: Annotated[int, typer.Option("--in", min=1, help="Input features.")],
    out_features: Annotated[int, typer.Option("--out", min=1, help="Output features.")],
    sparsity: Annotated[float, typer.Option(help="The share of weights that is zero, in [0, 1).")],
    batch: Annotated[int, typer.Option(min=1, help="Samples of a call.")],
    train: Annotated[
        bool, typer.Option("--train", help="Forward and backward instead of inference.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="The least memory instead of the least time.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or a GPU such as cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Type of the weights.")] = "float32",
    folder: Annotated[
        list[Path] | None,
        typer.Option("--records", help="Where to look for records; may be repeated."),
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(help="Which structure: any, or one such as 8x1, 2:4, fan-in."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Say which implementation, or structure, to use for a layer here, and what it brings."""
    machine.check_device(device)
    for path in folder or []:
        if not path.exists():
            raise InputError(f"--records {path}: no such file or folder")
    folders = tuple(folder or [advisor.FOLDER])
    asked = {
        "sparsity": sparsity, "batch": batch, "train": train, "by_memory": memory,
        "device": device, "dtype": dtype, "threads": threads,
        "folders": folders, "structure": structure,
    }  # fmt: skip
    advice = advisor.advise(in_features, out_features, **asked, measure_now=False)  # type: ignore[call-overload]
    if advice is None:
        duration = "20 seconds" if structure is None else "six seconds for each structure"
        errors.print(
            f"no records of this machine cover this: measuring, for some {duration}, and half as "
            "long again (ten seconds at least) where other work disturbs it",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        advice = advisor.advise(in_features, out_features, told=_say, **asked)  # type: ignore[call-overload]
    if advice is None:
        kept = folders[0] / "advise"
        why, only = failures(
            load(kept) if kept.exists() else (),
            in_features=in_features, out_features=out_features, batch=batch,
            device=device, dtype=dtype,
        )  # fmt: skip
        raise InputError(
            (
                f"no case could be measured: {why}: "
                if only
                else "no time could be taken that other work left alone, nor when taken again"
                f"{f'; others failed: {why}' if why else ''}: "
            )
            + f"see {kept / 'records.jsonl'}; ask again when the machine is "
            "quieter, or take more time: sparsebench compare-linear "
            f"--in {in_features} --out {out_features} --batch {batch} --sparsity {sparsity:g}, "
            "whose records advise reads then"
        )
    if as_json:
        typer.echo(json.dumps(asdict(advice)))
    elif structure is None:
        _show(advice, by_memory=memory)
    else:
        structures.show(advice)


def _name(implementation: str) -> str:
    return "the dense layer" if implementation == BASELINE else implementation


def _say(what: str) -> None:
    errors.print(what, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _show(advice: advisor.Advice, *, by_memory: bool) -> None:
    best = advice.best
    if not advice.told:
        names = [_name(name) for name in (best.implementation, *advice.ties)]
        sentence = (
            f"Can't tell {', '.join(names[:-1])} and {names[-1]} apart: their intervals meet."
        )
    elif best.implementation == BASELINE:
        sentence = "Use the dense layer: nothing sparse is better here."
    else:
        gain = units.interval(best.speedup)
        sentence = f"Use {best.implementation}: {gain} as fast as dense"
        if best.memory is not None:
            sentence += f", with {100 * best.memory:.0f}% of its memory"
        sentence += "." if not by_memory else " (chosen by memory)."
    console.print(sentence, style="bold", highlight=False)
    if advice.crossover is not None:
        first = next(c for c in advice.candidates if c.implementation != BASELINE)
        name = first.implementation
        console.print(
            f"Sparsity from which {name} is faster than dense: {units.crossing(advice.crossover)}.",
            highlight=False,
        )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("speed-up over dense")
    table.add_column("memory over dense", justify="right")
    for candidate in advice.candidates:
        table.add_row(
            Text(candidate.implementation, style="bold" if candidate is best else ""),
            units.interval(candidate.speedup),
            "" if candidate.memory is None else units.ratio(candidate.memory),
        )
    output.show(table)
    console.print(f"Source: {advice.source}.", style="dim", highlight=False)
