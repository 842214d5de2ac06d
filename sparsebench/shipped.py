"""Where the files are that say what is asked: sweeps, experiments, digits, published figures."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def folder() -> Path:
    """Return `experiments/`: that of the checkout, or the copy that an installation brings."""
    installed = _HERE / "experiments"
    return installed if installed.is_dir() else _HERE.parent / "experiments"
