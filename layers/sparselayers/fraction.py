"""What a sparsity may be: checked at every door in the same words."""

from __future__ import annotations


def check_sparsity(sparsity: float) -> None:
    """Raise TypeError where `sparsity` is no number, and ValueError where it is not in [0, 1)."""
    try:
        inside = 0.0 <= sparsity < 1.0
    except TypeError:
        raise TypeError(f"sparsity must be a number in [0, 1), got {sparsity!r}") from None
    if not inside:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}{of_percent(sparsity)}")


def of_percent(sparsity: float) -> str:
    """Say what was meant where it may have been a percentage."""
    if not sparsity > 1.0:
        return ""
    percent = float(sparsity) if sparsity < 100.0 else 90.0
    return f" (a fraction: {percent / 100:g} for {percent:g}%)"
