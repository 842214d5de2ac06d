"""The `sparsebench` command."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer
from rich.markup import escape

from sparsebench import interruption
from sparsebench.commands.advise import advise
from sparsebench.commands.check import check
from sparsebench.commands.compare import compare
from sparsebench.commands.compare_layer import compare_conv2d, compare_linear
from sparsebench.commands.env import env
from sparsebench.commands.export import export
from sparsebench.commands.history import history
from sparsebench.commands.list import list_
from sparsebench.commands.report import report
from sparsebench.commands.run import run
from sparsebench.commands.scale import scale
from sparsebench.commands.sparsify import sparsify
from sparsebench.commands.train import train
from sparsebench.errors import (
    CANNOT_WRITE,
    NO_CLUSTER,
    WRONG_INPUT,
    ClusterError,
    InputError,
    StoreError,
)
from sparsebench.measuring import machine
from sparsebench.output import errors
from sparselayers.backends import BACKENDS

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure when sparse layers pay, in time and in memory, on the machine at hand.",
    epilog="Exit codes: 0 done; 1 records cannot be written, or one of several processes failed; "
    "2 wrong input, nothing was measured; 3 `check`: a revision cannot be built, or "
    "`run --on`: the cluster cannot be used, or was lost; "
    "4 `compare --fail-on` found such a case, or `check` something slower; "
    "130 interrupted (143 by SIGTERM), what was measured is kept.",
)
app.command("run")(run)
app.command("list")(list_)
app.command("report")(report)
app.command("advise")(advise)
app.command("compare")(compare)
app.command("check")(check)
app.command("compare-linear")(compare_linear)
app.command("compare-conv2d")(compare_conv2d)
app.command("history")(history)
app.command("export")(export)
app.command("train")(train)
app.command("sparsify")(sparsify)
app.command("scale")(scale)
app.command("env")(env)


@app.callback()
def _before_every_command() -> None:
    if missing := BACKENDS["native"].unavailable():
        errors.print(f"[yellow]the fast kernels are missing:[/] {escape(missing)}", highlight=False)
    try:
        machine.layers_backend()
    except ValueError as error:
        raise InputError(str(error)) from None


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _show_warning
    interruption.raise_on_signals()
    try:
        app()
    except InputError as error:
        _fail(str(error), WRONG_INPUT)
    except ClusterError as error:
        _fail(str(error), NO_CLUSTER)
    except StoreError as error:
        _fail(str(error), CANNOT_WRITE)
    except OSError as error:  # a disk that is full while tables and plots are written, above all
        _fail(f"{error.filename or 'output'}: {error.strerror}", CANNOT_WRITE)
    except interruption.Interrupted as interrupted:
        sys.exit(128 + interrupted.signal)


def _fail(message: str, code: int) -> None:
    errors.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    errors.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True)
