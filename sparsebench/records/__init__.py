"""What is kept of a measurement: Record and the append-only files it lives in.

Uses `cases` alone; whoever measures writes here, whoever analyses reads. `store` is what all kinds
of records are kept in, those of training, of scale and of checks too.
"""

from sparsebench.records.record import (
    FILE_NAME,
    SCHEMA,
    Memory,
    Record,
    Status,
    Store,
    files,
    load,
    merge,
)
from sparsebench.records.round import Round

__all__ = [
    "FILE_NAME",
    "SCHEMA",
    "Memory",
    "Record",
    "Round",
    "Status",
    "Store",
    "files",
    "load",
    "merge",
]
