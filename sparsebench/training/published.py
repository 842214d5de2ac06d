"""Figures that others published, with their source."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from sparsebench import shipped

FILE = shipped.folder() / "published.toml"


@cache
def published() -> dict[str, Any]:
    """Return the whole file of published figures."""
    return tomllib.loads(FILE.read_text())


def curve(experiment: str, row: str) -> list[float]:
    """Return the published test accuracies in percent, one an epoch; empty where there are none."""
    accuracies: list[float] = published().get(experiment, {}).get(row, {}).get("accuracy", [])
    return accuracies


def source() -> str:
    """Return one line that says where the figures come from."""
    of = published()["source"]
    return f"{of['title']}, {of['repository']}, {of['file']} at {of['commit'][:7]}"
