"""What SciPy reads: MatrixMarket files (.mtx) and its own archives (.npz)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sparsebench.cases.weights.matrix import Matrix, of_entries, of_rows, real
from sparsebench.errors import InputError

INSTALL = "pip install scipy"
_BANNER = b"%%MatrixMarket"


def read_mtx(path: Path) -> Matrix:
    """Return the matrix in a MatrixMarket file, entries in any order; patterns have no values.

    Raises InputError, with the line where SciPy tells it, for what is none.
    """
    io = _scipy(path, "scipy.io")
    with path.open("rb") as file:
        start = file.read(len(_BANNER))
    if start.lower() != _BANNER.lower():
        raise InputError(f"{path}, line 1: {start!r}: a MatrixMarket file begins {_BANNER!r}")
    try:
        rows, columns, entries, kind, field, _ = io.mminfo(path)
        if kind == "coordinate":
            entries = min(entries, path.stat().st_size)  # a line has more than a byte
        _check_memory(path, 32 * entries if kind == "coordinate" else 16 * rows * columns)
        found = io.mmread(path)
    except (ValueError, OverflowError, StopIteration) as error:
        raise InputError(f"{path}: {error}") from None
    if isinstance(found, np.ndarray):
        row, col = np.nonzero(found)
        values: Any = found[row, col]
    else:
        row, col, values = found.row, found.col, found.data
    place = f"{path}: {entries} entries in {rows} × {columns}"
    try:
        connectivity, ordered = of_entries(
            (rows, columns), row, col, None if field == "pattern" else values
        )
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    return Matrix(connectivity, None if ordered is None else real(ordered, place))


def read_npz(path: Path) -> Matrix:
    """Return the matrix that `scipy.sparse.save_npz` wrote, of any of its formats.

    Raises InputError for another archive, for arrays that do not fit each other and for columns
    that are not in order.
    """
    sparse = _scipy(path, "scipy.sparse")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if not {"format.npy", "data.npy", "shape.npy"} <= sizes.keys():
            names = ", ".join(sizes) or "nothing"
            raise InputError(
                f"{path}: no matrix of SciPy (scipy.sparse.save_npz), it holds {names}"
            )
        _check_memory(path, 4 * sum(sizes.values()))
        found = sparse.load_npz(path)
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: no whole archive of SciPy: {error}") from None
    if len(found.shape) != 2:
        raise InputError(f"{path}: holds an array of shape {found.shape}, not a matrix")
    shape = (int(found.shape[0]), int(found.shape[1]))
    try:
        if found.format == "csr":
            connectivity, values = of_rows(shape, found.indptr, found.indices), found.data
        else:
            entries = found.tocoo()
            connectivity, values = of_entries(shape, entries.row, entries.col, entries.data)
    except ValueError as error:
        hint = "; SciPy's sort_indices() and sum_duplicates() put a matrix in order"
        raise InputError(f"{path}: {error}{hint if 'ascend' in str(error) else ''}") from None
    return Matrix(connectivity, real(values, str(path)))


def _scipy(path: Path, module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise InputError(f"{path}: to read it SciPy is needed; install with: {INSTALL}") from None


def _check_memory(path: Path, needed: int) -> None:
    """Refuse a file that does not fit: a small archive may unfold to any size."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{path}: needs about {needed / 1e9:.3g} GB to be read, {free / 1e9:.3g} are free"
        )
