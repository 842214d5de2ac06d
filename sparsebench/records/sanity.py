"""What no record can hold: told by the field and its value."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sparsebench.cases.case import DTYPE_BYTES, Case

_MOST = 2**48  # of anything that is counted


def check_case(case: Case) -> Case:
    """Raise ValueError, naming field and value, where there can be no such case."""
    if not 0 <= case.sparsity < 1:
        raise ValueError(f"sparsity = {case.sparsity}: must be in [0, 1)")
    if case.dtype not in DTYPE_BYTES:
        raise ValueError(f"dtype = {case.dtype!r}: choose from {', '.join(DTYPE_BYTES)}")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", case.device):
        raise ValueError(f"device = {case.device!r}: must be cpu, cuda or cuda:N")
    for name in ("in_features", "out_features", "batch", "threads", "kernel", "stride", "image"):
        if not 1 <= (value := getattr(case, name)) <= _MOST:
            raise ValueError(f"{name} = {value}: must be between 1 and 2^48")
    for name in ("padding", "seed"):
        if not 0 <= (value := getattr(case, name)) < 2**64:
            raise ValueError(f"{name} = {value}: must be between 0 and 2^64")
    return case


def check_count(value: int | None) -> int | None:
    """Raise ValueError where there can be no such number of bytes, or of calls."""
    if value is not None and not 0 <= value <= _MOST:
        raise ValueError(f"{value}: must be between 0 and 2^48")
    return value


def check_samples(samples: list[float]) -> list[float]:
    """Raise ValueError where a sample is no time that anything can take."""
    wrong = _first_wrong(samples)
    if wrong is not None:
        raise ValueError(f"sample {wrong} = {samples[wrong]}: must be above 0, and finite")
    return samples


def _first_wrong(samples: Sequence[float]) -> int | None:
    if not samples or (min(samples) > 0 and math.isfinite(sum(samples))):
        return None
    found = (n for n, s in enumerate(samples) if not (s > 0 and math.isfinite(s)))
    return next(found, None)
