"""Measure when sparse layers pay, in time and in memory, on the machine at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsebench.advisor import advise
    from sparsebench.views.frames import load_frame

    __version__: str

__all__ = ["advise", "load_frame"]


def __getattr__(name: str) -> Any:
    if name == "load_frame":
        from sparsebench.views.frames import load_frame  # pandas: only for those who ask

        return load_frame
    if name == "advise":
        from sparsebench.advisor import advise  # torch, and all implementations

        return advise
    if name == "__version__":
        from sparselayers import __version__  # torch: importing the suite does not take seconds

        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
