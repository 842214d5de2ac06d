"""Figures as images that are part of a page, with what it takes to read values off them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image as Picture  # matplotlib's own dependency

from sparsebench.views.plots.axes import Readable
from sparsebench.views.plots.layout import laid_out
from sparsebench.views.plots.style import styled

LARGEST_SVG = 24_000
_DPI = 100
# Bytes as SVG, at least: of a mark, a text, a letter of it, and the shape of each different letter.
_PER_MARK, _PER_TEXT, _PER_LETTER, _PER_SHAPE = 80, 100, 60, 300
_NO_MARK = ("None", "none", " ", "", None)


@dataclass(frozen=True)
class Image:
    """A picture's address, its proportions, and its axes as JSON: see `_reading`."""

    address: str
    width: int
    height: int
    axes: str


def image(figure: Figure) -> Image:
    """Return a figure as an image whose address holds all of it.

    It is SVG, or WebP where many points make the SVG larger than that is worth.
    """
    with styled():
        box = laid_out(figure, dpi=_DPI)
        content, kind = b"", "svg+xml"
        if small := _least_svg(figure) <= LARGEST_SVG:
            content = _saved(figure, "svg", box, metadata={"Date": None})
        if not small or len(content) > LARGEST_SVG:
            content, kind = _of_few_colours(_pixels(figure, box)), "webp"
    axes = [reading for each in figure.axes if (reading := _reading(each, figure, box))]
    return Image(
        address=f"data:image/{kind};base64," + base64.b64encode(content).decode(),
        width=round(100 * box.width), height=round(100 * box.height),
        axes=json.dumps(axes, separators=(",", ":")),
    )  # fmt: skip


def _least_svg(figure: Figure) -> int:
    """Return how many bytes a figure takes as SVG, at least: such need not be made."""
    lines = (line for axes in figure.axes for line in axes.lines)
    marks = sum(np.size(line.get_xdata()) for line in lines if line.get_marker() not in _NO_MARK)
    texts = [text for text in _texts(figure) if text]
    letters = "".join(texts)
    words = _PER_TEXT * len(texts) + _PER_LETTER * len(letters) + _PER_SHAPE * len(set(letters))
    return _PER_MARK * marks + words


def _texts(artist: Artist) -> Iterator[str]:
    """Yield the texts that are seen; axes that are not seen would make their ticks if asked."""
    if isinstance(artist, Text):
        yield artist.get_text()
    for child in artist.get_children():
        if child.get_visible():
            yield from _texts(child)


def _reading(axes: Axes, figure: Figure, box: Bbox) -> list[Any] | None:
    """Return where axes lie in the picture, as shares of it from the top left, and what they say.

    That is left, top, right, bottom, and for x and y the kind of value, the ends, and whether they
    are logarithmic; None for one that has no values to be read.
    """
    said = [
        [form.kind, *(float(f"{end:.5g}") for end in ends), scale == "log"]
        if isinstance(form := axis.get_major_formatter(), Readable) else None
        for axis, ends, scale in (
            (axes.xaxis, axes.get_xlim(), axes.get_xscale()),
            (axes.yaxis, axes.get_ylim(), axes.get_yscale()),
        )
    ]  # fmt: skip
    if not any(said):
        return None
    width, height = figure.get_size_inches()
    place = axes.get_position()
    x = [(end * width - box.x0) / box.width for end in (place.x0, place.x1)]
    y = [1 - (end * height - box.y0) / box.height for end in (place.y1, place.y0)]
    return [*(round(share, 4) for share in (x[0], y[0], x[1], y[1])), *said]


def _saved(figure: Figure, kind: str, box: Bbox, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, bbox_inches=box, **options)
    return file.getvalue()


def _pixels(figure: Figure, box: Bbox) -> Picture.Image:
    """Return a figure as a picture, which as a PNG would be packed, and unpacked again."""
    raw = _saved(figure, "rgba", box, dpi=_DPI)
    width = int(box.width * _DPI)
    return Picture.frombuffer("RGBA", (width, len(raw) // (4 * width)), raw).convert("RGB")


def _of_few_colours(picture: Picture.Image) -> bytes:
    """Return the picture as WebP, without loss but for its colours, 128 as plots have hardly more.

    That takes a third of the bytes of a PNG with all colours, and less than one with 128.
    """
    file = io.BytesIO()
    few = picture.quantize(128, dither=Picture.Dither.NONE).convert("RGB")
    few.save(file, format="webp", lossless=True, quality=50, method=3)
    return file.getvalue()
