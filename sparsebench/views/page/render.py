"""Templates filled in: text from records is escaped, our own style and scripts are in the page."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sparsebench.views.page.images import image
from sparsebench.views.tables import Table


def rendered(template: str, **content: Any) -> str:
    """Return `template`, a file of this folder, with `content`."""
    environment = Environment(
        loader=PackageLoader("sparsebench.views", "page"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"image": image, "data": data, "coded": coded}
    here = resources.files("sparsebench.views.page")
    css, *scripts = (
        (here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "explorer.js")
    )
    # Our own files; everything from records is escaped.
    text = environment.get_template(template).render(
        css=Markup(css), js=Markup("\n".join(scripts)), **content
    )
    return text.lstrip()


def data(content: Any) -> Markup:
    """Return `content` as JSON within an element for scripts, that nothing in it can end."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def coded(table: Table) -> dict[str, Any]:
    """Return a table's text as its columns, the different cells, and rows of their numbers.

    Thousands of rows repeat most of what they say.
    """
    words: dict[str, int] = {}
    rows = [
        [words.setdefault(cell, len(words)) for cell in row]
        for row in table.text.itertuples(index=False)
    ]
    return {"columns": list(table.text.columns), "words": list(words), "rows": rows}
