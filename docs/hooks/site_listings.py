"""Pages made of programs: examples as they are, notebooks as text and code.

What notebooks show stands below their cells where `make notebooks` has run them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "build" / "notebooks"
_CELL = re.compile(r"^# %%(?P<kind>.*)$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Return where the page of each program stands on the site, by its place in the repository."""
    folders = {"examples": "guides/examples", "experiments/notebooks": "guides/notebooks"}
    return {
        path.relative_to(ROOT).as_posix(): f"{page}/{path.stem}.md"
        for folder, page in folders.items()
        for path in sorted((ROOT / folder).glob("*.py"))
    }


def text(source: str) -> str:
    """Return a program as Markdown."""
    code = (ROOT / source).read_text("utf-8")
    if _CELL.search(code):
        made = RUN / f"{Path(source).stem}.ipynb"
        whole = "".join(_run(made) if made.exists() else _cells(code))
        return f"{whole}\n---\n\n`{source}`: run it with `make notebooks`.\n"
    told = ast.get_docstring(ast.parse(code)) or source
    title, _, rest = told.partition("\n")
    body = code.split('"""', 2)[-1].lstrip("\n")
    rest = re.sub(r"^(?:python|torchrun|pip) .*$", r"```\n\g<0>\n```", rest, flags=re.MULTILINE)
    title, _, about = title.rstrip(".").partition(": ")
    about = f"\n{about[0].upper()}{about[1:]}.\n" if about else ""
    return f"# {title}\n{about}{rest}\n\n`{source}`:\n\n```python\n{body}```\n"


def _cells(code: str) -> Iterator[str]:
    """Yield the cells of a notebook in jupytext's percent format, but for its header."""
    marks = list(_CELL.finditer(code))
    ends = [mark.start() for mark in marks[1:]] + [len(code)]
    for mark, end in zip(marks, ends, strict=True):
        cell = code[mark.end() : end].strip("\n")
        if "[markdown]" in mark["kind"]:
            yield re.sub(r"^# ?", "", cell, flags=re.MULTILINE) + "\n\n"
        elif cell:
            yield f"```python\n{cell}\n```\n\n"


def _run(made: Path) -> Iterator[str]:
    """Yield the cells of a notebook that has been run, with what they show."""
    for cell in json.loads(made.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source + "\n\n"
        elif source:
            yield f"```python\n{source}\n```\n\n"
            yield from (_shown(output) for output in cell["outputs"])


def _shown(output: dict[str, Any]) -> str:
    """Return what a cell shows: a picture, a table, or text."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="what the cell shows" src="data:image/png;base64,{picture}">\n\n'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>|\n", "", "".join(data["text/html"]), flags=re.DOTALL)
        return f"{re.sub(r'<table[^>]*>', '<table>', table)}\n\n"
    told = "".join(output.get("text") or data.get("text/plain") or "")
    return f"```text\n{told.rstrip()}\n```\n\n" if told.strip() else ""
