"""The revisions that `sparsebench check` compares, made and built, whatever it compares of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

import typer
from rich.table import Table

from sparsebench import output
from sparsebench.errors import CANNOT_BUILD, FOUND_WHAT_FAILS
from sparsebench.output import console, errors
from sparsebench.regression import builds
from sparsebench.regression.builds import Build, Revision
from sparsebench.regression.results import Check, CountCheck


@dataclass(frozen=True)
class Sides:
    """The checkout, and which of its revisions are compared."""

    root: Path
    base: Revision
    head: Revision

    @contextmanager
    def built(self) -> Iterator[tuple[Path, Build, Build]]:
        """Build both sides: a folder for what is made meanwhile, the base, and the head.

        Ends the command (exit code 3) where one of them cannot be built, or does not run.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="sparsebench-check-") as scratch:
                folder = Path(scratch)
                say(f"building base {self.base.commit}")
                with builds.built(self.root, self.base, folder / "base", head=False) as first:
                    say("building head")
                    with builds.built(self.root, self.head, folder / "head", head=True) as second:
                        yield folder, first, second
        except builds.BuildError as error:
            errors.print("[red]error:[/] ", end="")
            errors.print(str(error), highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(CANNOT_BUILD) from None


def of(base: str | None, markdown: Path | None, *, as_json: bool) -> Sides | None:
    """Return what to compare. Says so, and returns None, where there is nothing to compare with."""
    root = builds.repository(Path.cwd())
    head, revision = builds.head_of(root), builds.base_of(root, base)
    if revision is not None:
        return Sides(root, revision, head)
    text = f"{head.commit} is the first commit: there is no base to compare with, and it passes"
    typer.echo(json.dumps({"base": None, "findings": []}) if as_json else text)
    if markdown is not None:
        markdown.write_text(f"### Performance check: passed\n\n{text}.\n", encoding="utf-8")
    return None


def like(names: Iterable[str], patterns: Sequence[str] | None) -> list[str]:
    """Return the names that are like one of `patterns`; all of them where there is none."""
    return [
        name
        for name in names
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns)
    ]


class Views(Protocol):
    """The module that shows what a check found."""

    def markdown(self, found: Any, /) -> str:
        """Return it as a report."""

    def table(self, found: Any, /) -> Table:
        """Return it as a table."""

    def sentence(self, found: Any, /) -> str:
        """Return it in a sentence."""


def tell(found: Check | CountCheck, views: Views, markdown: Path | None, *, as_json: bool) -> None:
    """Tell what a check found, and end the command (exit code 4) where something fails."""
    if markdown is not None:
        markdown.write_text(views.markdown(found), encoding="utf-8")
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        output.show(views.table(found))
        console.print(views.sentence(found), highlight=False, soft_wrap=True)
    if found.failures:
        raise typer.Exit(FOUND_WHAT_FAILS)


def say(text: str) -> None:
    """Say what is being done."""
    errors.print(text, style="dim", highlight=False, markup=False)


def now() -> str:
    """Return the moment as records have it."""
    return datetime.now(UTC).isoformat("T", "milliseconds")
