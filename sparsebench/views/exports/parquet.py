"""A table of every case with every metric, for data frames of any language."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sparsebench.errors import InputError
from sparsebench.records import Record
from sparsebench.views.frames import frame_of


def write(found: Sequence[Record], path: Path) -> None:
    """Write the frame of `found`. Raises InputError where pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise InputError("Parquet needs pyarrow; install with: pip install pyarrow")
    frame_of(found).to_parquet(path, engine="pyarrow", index=False)
