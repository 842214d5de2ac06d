"""How precisely tensor cores multiply float32: as PyTorch's own products are told to."""

from __future__ import annotations

import torch


def precision_of(dtype: torch.dtype) -> str:
    """Return "tf32" where that is allowed for `dtype` (`torch.backends.cuda.matmul`), or "ieee"."""
    full = dtype != torch.float32 or torch.backends.cuda.matmul.fp32_precision != "tf32"
    return "ieee" if full else "tf32"
