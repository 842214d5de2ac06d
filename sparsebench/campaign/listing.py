"""What a run would measure, in which order and how long, and what it would refuse."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from sparsebench.cases.case import Case
from sparsebench.measuring import retakes, runner
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.progress import counted, duration, title
from sparsebench.measuring.refusals import refusal
from sparsebench.output import console


def list_cases(cases: list[Case], estimate: Estimator, *, as_json: bool) -> None:
    """Print `cases` in the order of measuring, how long they take, and why some are refused."""
    ordered = runner.ordered(cases, 0)
    if as_json:
        plain = [
            {"case": asdict(case), "seconds": round(estimate(case), 3), "refusal": refusal(case)}
            for case in ordered
        ]
        typer.echo(json.dumps(plain))
        return
    for case in ordered:
        reason = refusal(case)
        seconds = f"{estimate(case):5.1f} s" if not reason else f"unsupported: {reason}"
        line = f"{title(case)}  {seconds}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    seconds = estimate.whole(cases)
    line = f"{counted(len(cases))}, about {duration(seconds)} on a quiet machine"
    if seconds and (more := retakes.allowed(estimate.settings, seconds)):
        line += f"; cases that other work disturbs take up to {duration(more)} more"
    console.print(line, soft_wrap=True)
