"""The `sparsebench` command."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from sparsebench import interruption
from sparsebench.errors import (
    CANNOT_WRITE,
    NO_CLUSTER,
    WRONG_INPUT,
    ClusterError,
    InputError,
    StoreError,
)
from sparsebench.output import errors, printable

# Module and function below `commands`, and what the help says: a module is imported when its
# command is called, as torch takes seconds that neither help nor TAB should.
COMMANDS = {
    "run": ("run:run", "Measure the cases of a sweep, and resume where an earlier run stopped."),
    "list": ("list:list_", "List implementations, layers, topologies, sweeps and metrics."),
    "report": (
        "report:report",
        "Write tables and plots from records, or one page about all of them; measure nothing.",
    ),
    "advise": (
        "advise.command:advise",
        "Say which implementation, or structure, to use for a layer here, and what it brings.",
    ),
    "compare": (
        "compare:compare",
        "Say of every case in two sets of records whether B is faster or slower than A.",
    ),
    "check": (
        "check.command:check",
        "Compare this working tree's speed and memory with an earlier revision's, in turn.",
    ),
    "compare-linear": (
        "compare_layer:compare_linear",
        "Plot time against sparsity for a linear layer, dense against each implementation.",
    ),
    "compare-conv2d": (
        "compare_layer:compare_conv2d",
        "Plot time against sparsity for a convolution, dense against each implementation.",
    ),
    "history": (
        "history:history",
        "Plot what `sparsebench check` found over commits, and print the last of each ratio.",
    ),
    "site": (
        "site:site",
        "Write a static site about the records of many machines, that needs no network.",
    ),
    "contribute": (
        "contribute:contribute",
        "Check records, strip what is private, and write them as files to be given away.",
    ),
    "export": ("export:export", "Write records in another tool's format."),
    "train": (
        "train.command:train",
        "Train the networks of an experiment, and record accuracy or perplexity, time and memory.",
    ),
    "sparsify": (
        "sparsify:sparsify",
        "Swap sparse layers into a model where they pay, and measure it before and after.",
    ),
    "models": (
        "models:models",
        "Measure whole models, pruned: dense, masked, sparse and by SparseProp's swapping.",
    ),
    "scale": (
        "scale:scale",
        "Measure time and bytes per connection of layers up to 10⁶ wide with 10⁸ connections.",
    ),
    "env": (
        "env:env",
        "Print what is recorded of this machine, and which kernels of `sparselayers` run, and why.",
    ),
}


def command(name: str) -> Any:
    """Return the command called `name`, whose module is imported now."""
    module, _, function = COMMANDS[name][0].partition(":")
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(getattr(import_module(f"sparsebench.commands.{module}"), function))
    return typer.main.get_command(alone)


class _Commands(TyperGroup):
    """The commands by name and what the help says of them, until one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that `args` begin with."""
        if args[0] in COMMANDS:
            self.commands[args[0]] = command(args[0])
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure when sparse layers pay, in time and in memory, on the machine at hand.",
    epilog="Exit codes: 0 done; 1 records cannot be written, or one of several processes failed; "
    "2 wrong input, nothing was measured; 3 `check`: a revision cannot be built, or "
    "`run --on`: the cluster cannot be used, or was lost; "
    "4 `compare --fail-on` found such a case, or `check` something slower; "
    "130 interrupted (143 by SIGTERM), what was measured is kept.",
)
for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


@app.callback()
def _before_every_command() -> None:
    if "--help" in sys.argv:  # nothing is computed
        return
    from sparsebench.measuring import machine  # torch: seconds that neither help nor TAB takes
    from sparselayers.backends import BACKENDS  # torch

    if missing := BACKENDS["native"].unavailable():
        errors.print(f"[yellow]the fast kernels are missing:[/] {escape(missing)}", highlight=False)
    try:
        machine.layers_backend()
    except ValueError as error:
        raise InputError(str(error)) from None


def main() -> None:
    """Run the command line."""
    printable()
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
