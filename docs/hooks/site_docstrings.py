"""Docstrings as Markdown: a shape such as (*, in) is no emphasis."""

from __future__ import annotations

import re

import griffe

_CODE = re.compile(r"(`[^`]*`|^ {4}.*$)", re.MULTILINE)


class Literal(griffe.Extension):
    """Escape the asterisks of docstrings, but for those in code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Escape those of one object."""
        del kwargs
        if obj.docstring is not None:
            parts = _CODE.split(obj.docstring.value)
            obj.docstring.value = "".join(
                part if _CODE.fullmatch(part) else part.replace("*", r"\*") for part in parts
            )
