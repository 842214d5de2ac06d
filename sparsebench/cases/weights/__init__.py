"""Weights from files: a matrix for a case, read by the libraries that own the formats.

Readers are `smtx`, `scipy_files` and `checkpoints`; `sources` finds the files, and names what is in
them.
"""

from sparsebench.cases.weights.sources import (
    PREFIX,
    SUFFIXES,
    Source,
    find,
    matrix_name,
    network,
    read,
)

__all__ = ["PREFIX", "SUFFIXES", "Source", "find", "matrix_name", "network", "read"]
