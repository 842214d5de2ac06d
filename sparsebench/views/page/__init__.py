"""The report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image  # matplotlib's own dependency

from sparsebench.errors import InputError
from sparsebench.views.page.chapter import Chapter
from sparsebench.views.page.chapters import chapters
from sparsebench.views.page.machines import machines
from sparsebench.views.plots.style import styled

LARGEST = 6_000_000  # bytes
LARGEST_SVG = 24_000


def write(sources: Sequence[Path], path: Path) -> list[Chapter]:
    """Write the page about all records at and below `sources` to `path`; return what it holds.

    Raises InputError where there is no record, and where the page would pass `LARGEST` bytes.
    """
    found = chapters(sources)
    if not found:
        names = ", ".join(map(str, sources))
        raise InputError(f"{names}: no records to report; measure some with `sparsebench run`")
    environment = Environment(
        loader=PackageLoader("sparsebench.views", "page"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["image"] = _image
    here = resources.files("sparsebench.views.page")
    text = environment.get_template("page.html.j2").render(
        chapters=found,
        machines=[asdict(machine) for machine in machines(found)],
        # Our own files; everything from records is escaped.
        css=Markup((here / "page.css").read_text(encoding="utf-8")),
        js=Markup((here / "page.js").read_text(encoding="utf-8")),
    )
    content = text.encode()
    if len(content) > LARGEST:
        raise InputError(
            f"the page would take {len(content) / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}: "
            "report fewer folders at once"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return found


def _image(figure: Figure) -> str:
    """Return a figure as the address of an image that is part of the page.

    It is SVG, or WebP where many points make the SVG larger than that is worth.
    """
    content, kind = _saved(figure, "svg", metadata={"Date": None}), "svg+xml"
    if len(content) > LARGEST_SVG:
        content, kind = _of_few_colours(_saved(figure, "png", dpi=100)), "webp"
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format=kind, bbox_inches="tight", pad_inches=0.08, **options)
    return file.getvalue()


def _of_few_colours(png: bytes) -> bytes:
    """Return the picture as WebP, without loss but for its colours, 128 as plots have hardly more.

    That takes a third of the bytes of a PNG with all colours, and less than one with 128.
    """
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE).convert("RGB")
        few.save(file, format="webp", lossless=True, quality=80, method=4)
    return file.getvalue()
