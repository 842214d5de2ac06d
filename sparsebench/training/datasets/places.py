"""Where data are looked for, and what a download may take."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def places_to_look(data_dir: Path | None = None) -> list[tuple[str, Path]]:
    """Return the data folders in the order they are tried, each with what names it."""
    if data_dir is not None:
        return [("--data-dir", data_dir)]
    places = [("./data", Path("data")), ("the user's cache", cache())]
    if folder := os.environ.get("SPARSEBENCH_DATA"):
        places.insert(0, ("$SPARSEBENCH_DATA", Path(folder)))
    return places


def cache() -> Path:
    """Return the folder that downloads go to."""
    return platformdirs.user_cache_path("sparsebench") / "data"


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Bound how long a silent server is waited for, which torchvision leaves open."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
