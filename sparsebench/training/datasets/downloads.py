"""Downloads into the user's cache: whole or not at all, and from no server that falls silent."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sparsebench import datafolders

_SILENT_S = 20.0  # torchvision waits for ever


def into_cache(fetch: Callable[[str], object], folder: str) -> Path:
    """Have `fetch` fill a folder of its own, and move the `folder` in it to the cache; return that.

    What a download that failed or was interrupted leaves can so never be taken for data. What an
    earlier one left in that place goes.
    """
    cache = datafolders.cache()
    place = cache / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="download-", dir=cache) as own,
        _timeout(_SILENT_S),
    ):
        fetch(own)
        if place.exists():
            place.rename(Path(own) / "earlier")
        (Path(own) / folder).rename(place)
    return place


def left_over(folder: Path, files: Iterable[str]) -> bool:
    """Whether `folder` is in the cache, which is ours, and lacks files: no download ended there."""
    whole = all(any((folder / f"{file}{end}").is_file() for end in ("", ".gz")) for file in files)
    return folder.is_relative_to(datafolders.cache()) and not whole


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Bound how long a silent server is waited for."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
