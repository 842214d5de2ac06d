"""What no record can hold: told by the field and its value."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from sparsebench.cases.case import DTYPE_BYTES, Case

if TYPE_CHECKING:
    from sparsebench.records.record import Record

_MOST = 2**48  # of anything that is counted
_SERIES = ("samples", "hot_samples", "wall_samples")
_COUNTS = ("in_features", "out_features", "batch", "threads", "kernel", "stride", "image")
_counts = attrgetter(*_COUNTS)


def check(record: Record) -> None:
    """Raise ValueError, naming field and value, where no record can hold what this one does.

    One call a record: of a hundred thousand, one for each field would take a second.
    """
    try:
        check_case(record.case)
    except ValueError as error:
        raise ValueError(f"case: {error}") from None
    if not 0 <= record.calls_per_sample <= _MOST:
        raise ValueError(f"calls_per_sample: {_range(record.calls_per_sample)}")
    for name in _SERIES:
        samples = getattr(record, name)
        if samples and (wrong := _first_wrong(samples)) is not None:
            raise ValueError(
                f"{name}: sample {wrong} = {samples[wrong]}: must be above 0, and finite"
            )


def check_case(case: Case) -> None:
    """Raise ValueError, naming field and value, where there can be no such case."""
    if not 0 <= case.sparsity < 1:
        raise ValueError(f"sparsity = {case.sparsity}: must be in [0, 1)")
    if case.dtype not in DTYPE_BYTES:
        raise ValueError(f"dtype = {case.dtype!r}: choose from {', '.join(DTYPE_BYTES)}")
    if case.device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", case.device):
        raise ValueError(f"device = {case.device!r}: must be cpu, cuda or cuda:N")
    counts = _counts(case)
    if min(counts) < 1 or max(counts) > _MOST:
        name, value = next(
            found for found in zip(_COUNTS, counts, strict=True) if not 1 <= found[1] <= _MOST
        )
        raise ValueError(f"{name} = {value}: must be between 1 and 2^48")
    for name, value in (("padding", case.padding), ("seed", case.seed)):
        if not 0 <= value < 2**64:
            raise ValueError(f"{name} = {value}: must be between 0 and 2^64")


def check_count(value: int | None) -> int | None:
    """Raise ValueError where there can be no such number of bytes."""
    if value is not None and not 0 <= value <= _MOST:
        raise ValueError(_range(value))
    return value


def _range(value: int) -> str:
    return f"{value}: must be between 0 and 2^48"


def _first_wrong(samples: Sequence[float]) -> int | None:
    if min(samples) > 0 and math.isfinite(sum(samples)):
        return None
    found = (n for n, s in enumerate(samples) if not (s > 0 and math.isfinite(s)))
    return next(found, None)
