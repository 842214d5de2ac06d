"""Where data are looked for: those that are trained on, and matrices that are measured."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

VARIABLE = "SPARSEBENCH_DATA"


def places_to_look(data_dir: Path | None = None) -> list[tuple[str, Path]]:
    """Return the data folders in the order they are tried, each with what names it."""
    if data_dir is not None:
        return [("--data-dir", data_dir)]
    places = [("./data", Path("data")), ("the user's cache", cache())]
    if folder := os.environ.get(VARIABLE):
        places.insert(0, (f"${VARIABLE}", Path(folder)))
    return places


def cache() -> Path:
    """Return the folder that downloads go to."""
    return platformdirs.user_cache_path("sparsebench") / "data"
