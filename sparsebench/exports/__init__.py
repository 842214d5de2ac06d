"""Records in other tools' formats: one file a format, one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparsebench.exports import asv, parquet, pytest_benchmark
from sparsebench.records import Record

# Each writes all records to a path, and says what it is for.
FORMATS: dict[str, Callable[[Sequence[Record], Path], None]] = {
    "parquet": parquet.write,
    "pytest-benchmark": pytest_benchmark.write,
    "asv": asv.write,
}
