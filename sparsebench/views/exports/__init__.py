"""Records in other tools' formats: one file a format, one line here.

Uses `analysis`, `records` and the frames of `views`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparsebench.records import Record
from sparsebench.views.exports import asv, parquet, pytest_benchmark

# Each writes all records to a path, and says what it is for.
FORMATS: dict[str, Callable[[Sequence[Record], Path], None]] = {
    "parquet": parquet.write,
    "pytest-benchmark": pytest_benchmark.write,
    "asv": asv.write,
}
