"""Matrices of the Deep Learning Matrix Collection (Gale, Elsen, Hooker 2019): patterns in text.

Line 1 holds rows, columns and the number of entries; line 2 the rows + 1 row pointers; line 3 the
columns. There are no values.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsebench.cases.weights.matrix import Matrix, of_rows
from sparsebench.errors import InputError

_LONGEST_HEADER = 200
_LONGEST_NUMBER = 22  # digits and what is between two of them


def read(path: Path) -> Matrix:
    """Return the matrix in `path`; raises InputError, naming file and line, for what is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.readline(_LONGEST_HEADER)
        rows, columns, entries = _header(header, path)
        numbers = rows + 1 + entries
        if size > len(header) + _LONGEST_NUMBER * numbers:
            raise InputError(
                f"{path}, line 1: {entries} entries in {rows} rows never take the {size} bytes "
                "that this file has"
            )
        if size < len(header) + 2 * numbers - 2:
            raise InputError(
                f"{path}: is cut: line 1 says {entries} entries in {rows} rows, at least "
                f"{len(header) + 2 * numbers - 2} bytes, and the file has {size}"
            )
        row_ptr = _numbers(file.readline(), rows + 1, f"{path}, line 2", "rows + 1")
        col = _numbers(file.readline(), entries, f"{path}, line 3", "entries")
        if file.read(_LONGEST_HEADER).strip():
            raise InputError(f"{path}, line 4: there must be nothing below the columns")
    try:
        return Matrix(of_rows((rows, columns), row_ptr, col))
    except ValueError as error:
        line = 2 if str(error).startswith("row_ptr") else 3
        raise InputError(f"{path}, line {line}: {error}") from None


def _header(line: bytes, path: Path) -> tuple[int, int, int]:
    found = re.fullmatch(rb"\s*(\d{1,18})[,\s]\s*(\d{1,18})[,\s]\s*(\d{1,18})\s*", line)
    if found is None:
        raise InputError(
            f"{path}, line 1: {line[:30]!r}: must be rows, columns, entries: three integers"
        )
    rows, columns, entries = (int(number) for number in found.groups())
    if not rows or not columns or not entries:
        raise InputError(
            f"{path}, line 1: {rows} × {columns} with {entries} entries: each must be at least 1"
        )
    if entries > rows * columns:
        raise InputError(f"{path}, line 1: {entries} entries do not fit into {rows} × {columns}")
    return rows, columns, entries


def _numbers(line: bytes, count: int, place: str, name: str) -> NDArray[np.int64]:
    """Read `count` integers; raises InputError for another number of them and for other text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            found = np.fromstring(line.decode("ascii"), dtype=np.int64, sep=" ")
        except (DeprecationWarning, UnicodeDecodeError, ValueError):
            wrong = next((word for word in line.split() if not word.isdigit()), line[:30])
            raise InputError(f"{place}: {wrong[:30]!r} is no integer of at least 0") from None
    if len(found) != count:
        cut = ": the file is cut" if len(found) < count else ""
        raise InputError(f"{place}: must hold {name} = {count} integers, holds {len(found)}{cut}")
    return found
