"""How precisely tensor cores multiply float32: as PyTorch's own products are told to."""

from __future__ import annotations

from typing import Any

import torch

# What `torch.backends.cuda.matmul.fp32_precision` asks, and takes 3 µs of every product to find.
_ASKED: Any = getattr(torch._C, "_get_fp32_precision_getter", None)


def precision_of(dtype: torch.dtype) -> str:
    """Return "tf32" where that is allowed for `dtype` (`torch.backends.cuda.matmul`), or "ieee"."""
    if dtype != torch.float32:
        return "ieee"
    if _ASKED is None:
        allowed = torch.backends.cuda.matmul.fp32_precision
    else:
        allowed = _ASKED("cuda", "matmul")
    return "tf32" if allowed == "tf32" else "ieee"
