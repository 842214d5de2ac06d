"""In which type numbers are added up."""

from __future__ import annotations

import torch


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type to add up numbers of `dtype` in: float32 for the 16-bit types."""
    return torch.promote_types(dtype, torch.float32)
