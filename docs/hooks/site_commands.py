"""The page of the command line, made from what `sparsebench COMMAND --help` says."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click

from sparsebench.cli import COMMANDS, app, command


def told() -> str:
    """Return exit codes and commands as Markdown."""
    epilog = str(typer.main.get_command(app).epilog)
    codes = re.findall(r"(\d+) (.+?)(?:; (?=\d)|\.$)", epilog.removeprefix("Exit codes: "))
    rows = "".join(f"| {code} | {what} |\n" for code, what in codes)
    text = f"## Exit codes\n\n| code | |\n|---|---|\n{rows}"
    return text + "".join(_section(name) for name in COMMANDS)


def _section(name: str) -> str:
    told = command(name)
    context = typer.Context(told, info_name=f"sparsebench {name}")
    text = get_docs_for_click(obj=told, ctx=context, name=f"sparsebench {name}")
    text = re.sub(r"^# .*$", f"## {name}", text, count=1, flags=re.MULTILINE)
    return "\n" + re.sub(r"^\* `--help`: .*\n", "", text, flags=re.MULTILINE)
