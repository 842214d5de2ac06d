"""What was measured on a machine, in a file of the user's cache that other processes find again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def of_the_user(name: str) -> Path | None:
    """Return that file of the user's cache; None without platformdirs, which knows the place."""
    try:
        from platformdirs import user_cache_path
    except ImportError:
        return None
    return user_cache_path("sparsebench") / name


def read(path: Path | None, made: Callable[[Any], T]) -> dict[str, T]:
    """Return what `made` makes of each entry; a file that cannot be read counts as empty."""
    if path is None:
        return {}
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return {key: made(each) for key, each in json.loads(path.read_text()).items()}
    return {}


def write(path: Path | None, entries: dict[str, Any]) -> None:
    """Write all entries, whole or not at all; a cache that cannot be written is none."""
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(entries, file, indent=0)
        Path(file.name).replace(path)
