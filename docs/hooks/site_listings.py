"""Pages made of programs: examples as they are, notebooks as text and code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
        return "".join(_cells(code)) + f"\n---\n\n`{source}`: run it with `make notebooks`.\n"
    told = ast.get_docstring(ast.parse(code)) or source
    title, _, rest = told.partition("\n")
    body = code.split('"""', 2)[-1].lstrip("\n")
    rest = re.sub(r"^(?:python|torchrun|pip) .*$", r"```\n\g<0>\n```", rest, flags=re.MULTILINE)
    return f"# {title.rstrip('.')}\n{rest}\n\n`{source}`:\n\n```python\n{body}```\n"


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
