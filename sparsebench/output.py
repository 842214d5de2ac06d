"""Where commands print: answers to the output, everything else to the errors."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from io import TextIOWrapper

from rich.console import Console, RenderableType
from rich.measure import Measurement

console = Console()
errors = Console(stderr=True)
_WIDEST = 400  # columns


def show(answer: RenderableType) -> None:
    """Print an answer, tables above all, as wide as it needs: a narrow terminal wraps its lines.

    To cut cells, as rich does, would cut numbers.
    """
    free = console.options.update(width=_WIDEST)
    needed = Measurement.get(console, free, answer).maximum
    if needed <= console.width:
        console.print(answer)
        return
    wide = Console(
        file=console.file,
        width=needed,
        force_terminal=console.is_terminal,
        no_color=console.no_color,
    )
    wide.print(answer)


_SUBSTITUTES = str.maketrans(
    {"→": "->", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "≥": ">=", "≤": "<=", "≈": "~"}
    | {"°": "*", "·": "*", "•": "*", "∓": "-+", "±": "+-", "µ": "u", "μ": "u", "’": "'", "‘": "'"}
    | {raised: f"^{digit}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
)


def printable() -> None:
    """Let output and errors take every character: one that their encoding lacks is replaced."""
    codecs.register_error("sparsebench", _substituted)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="sparsebench")


def _substituted(error: UnicodeError) -> tuple[str, int]:
    """Return what is printed in place of characters that cannot be, and where to go on."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_SUBSTITUTES)
    letters = [c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)]
    return "".join(letters).encode("ascii", "replace").decode(), error.end
