"""What is kept of a measurement: Record and the append-only files it lives in.

Uses `cases` alone; whoever measures writes here, whoever analyses reads.
"""

from sparsebench.records.record import (
    FILE_NAME,
    SCHEMA,
    Memory,
    Record,
    Status,
    Store,
    load,
    merge,
)

__all__ = ["FILE_NAME", "SCHEMA", "Memory", "Record", "Status", "Store", "load", "merge"]
