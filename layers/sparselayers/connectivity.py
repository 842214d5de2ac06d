"""Which weights exist: the integer half of a sparse layer."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable, Hashable
from multiprocessing.context import get_spawning_popen
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

from sparselayers.csr_arrays import check_arrays, check_shape, index_dtype

__all__ = ["Connectivity", "Transposed", "check_shape", "index_dtype", "known", "of", "version"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
# What writes out the columns of some rows, and of the connections that are theirs.
Columns = Callable[[slice, slice], Tensor]


class Transposed(NamedTuple):
    """The same connections sorted by column, for products with Wᵀ.

    `col_ptr` (in + 1,) delimits the columns, `row` (nnz,) holds the outputs of each column in
    ascending order, and `permutation` (nnz,) is the place of each connection in the row order:
    `values[permutation]` are the values in column order.
    """

    col_ptr: Tensor
    row: Tensor
    permutation: Tensor


class Connectivity:
    """The places of the nonzero weights of a matrix of shape (out, in), in CSR order.

    `row_ptr` (out + 1,) and `col` (nnz,) are integer tensors on one device, sorted by row and
    then by column, without duplicates: int32, or int64 where nnz or a dimension does not fit.
    Costs O(nnz) time and memory.

    Immutable: its arrays are copies of what it was made of and are never written, so that layers,
    their copies and graphs of autograd can share it. All that backends derive from it (the
    transpose, tiles, plans) is kept here, made once however many threads ask, and freed with it.

    Where what a backend computes with says as much as `col`, in fewer bytes, the columns are kept
    in that alone (`keep_in`). Whoever asks for `col` then gets an array that is made for him, and
    lives as long as he holds it. `nnz`, `dtype` (of both arrays), `device` and `is_cpu` are known
    without it.

    Raises ValueError, naming the offending entry, where the arrays do not describe such a matrix.
    """

    shape: tuple[int, int]
    nnz: int
    row_ptr: Tensor
    col: Tensor  # not set where something else holds the columns: see `__getattr__`
    dtype: torch.dtype
    device: torch.device
    is_cpu: bool
    _kept: tuple[tuple[Tensor, ...], Columns] | None  # what does: its arrays, and how it is read
    _handed: TensorWeakRef | None  # the `col` that was made of it last, while somebody has it
    _stays: bool  # whether `col` does
    _derived: dict[Hashable, Any]
    _digest: int | None
    _lock: threading.RLock

    __slots__ = (
        "__weakref__", "_derived", "_digest", "_handed", "_kept", "_lock", "_stays", "col",
        "device", "dtype", "is_cpu", "nnz", "row_ptr", "shape",
    )  # fmt: skip

    def __init__(self, shape: tuple[int, int], row_ptr: Tensor, col: Tensor) -> None:
        check_arrays(shape, row_ptr, col)
        self._fill(shape, row_ptr.clone(), col.clone())

    @classmethod
    def adopt(cls, shape: tuple[int, int], row_ptr: Tensor, col: Tensor) -> Connectivity:
        """Make one of arrays that nobody else holds, or writes, without a copy of them.

        Raises ValueError as the constructor does.
        """
        check_arrays(shape, row_ptr, col)
        return cls.trusted(shape, row_ptr, col)

    @classmethod
    def trusted(cls, shape: tuple[int, int], row_ptr: Tensor, col: Tensor) -> Connectivity:
        """Make one of arrays that are known to be right: what a kernel has made of others."""
        made = cls.__new__(cls)
        made._fill(shape, row_ptr, col)
        return made

    def _fill(self, shape: tuple[int, int], row_ptr: Tensor, col: Tensor) -> None:
        fields = {
            "shape": (int(shape[0]), int(shape[1])),
            "nnz": int(col.numel()),
            # Tensors of its own, so that it is found by them (see `of`), and no other.
            "row_ptr": row_ptr.detach(),
            "col": col.detach(),
            "dtype": col.dtype,
            "device": col.device,
            "is_cpu": col.is_cpu,
            "_kept": None,
            "_handed": None,
            "_stays": False,
            "_derived": {},
            "_digest": None,
            "_lock": threading.RLock(),
        }
        self._set(**fields)
        _owners[id(self.row_ptr)] = self

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Connectivity does not change: make another one ({name})")

    def __copy__(self) -> Connectivity:
        return self

    def __deepcopy__(self, memo: object) -> Connectivity:
        return self  # nothing in it can be changed

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is not None:
            self.lay_out()  # a process that is started gets files, which must be open by then
        return Connectivity.adopt, (self.shape, self.row_ptr.detach(), self.col.detach())

    if not TYPE_CHECKING:  # or any name would do

        def __getattr__(self, name: str) -> Tensor:
            """Return `col` where it is not set: made of what holds the columns, in O(nnz).

            The same tensor for as long as anybody holds it. A name that is set is found without
            this, by Python and by torch.compile, whose guards find the other one so.
            """
            if name != "col":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            with self._lock:
                if self._kept is None:
                    return self.col
                there = None if self._handed is None else self._handed()
                if there is None:
                    there = self._kept[1](slice(0, self.shape[0]), slice(0, self.nnz))
                    self._set(_handed=TensorWeakRef(there))
                return there

    def has(self, col: Tensor) -> bool:
        """Return whether `col` is the very tensor that is called so here, and not a copy of it."""
        if self._kept is None:
            return self.col is col
        handed = self._handed
        return handed is not None and handed() is col

    def keep_in(self, arrays: tuple[Tensor, ...], columns: Columns) -> None:
        """Keep the columns in `arrays`, which were derived from them, and not in `col` beside them.

        `columns` returns those of some rows, given which connections are theirs: a new array each
        time, outside of inference mode, in whatever mode PyTorch is. Nothing happens where
        something else has them already, or where `col` has to stay (`lay_out`).
        """
        with self._lock:
            if self._kept is None and not self._stays:
                self._set(_handed=TensorWeakRef(self.col), _kept=(arrays, columns))
                object.__delattr__(self, "col")

    def lay_out(self) -> bool:
        """Have `col` from now on, whatever else holds the columns, and return True.

        For who hands it to others call by call, and for compilers, which know it by its place.
        """
        if not self._stays:
            with self._lock:
                self._set(col=self.col, _kept=None, _handed=None, _stays=True)
        return True

    # For a compiler a constant, found when it compiles (as torch.compiler.assume_constant_result).
    lay_out._dynamo_marked_constant = True  # type: ignore[attr-defined]

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """The arrays that the connections are kept in: what they take of the memory."""
        with self._lock:
            columns = (self.col,) if self._kept is None else self._kept[0]
        return self.row_ptr, *columns

    @property
    def sparsity(self) -> float:
        """The fraction of the out × in weights that do not exist."""
        out_features, in_features = self.shape
        return 1.0 - self.nnz / (out_features * in_features)

    @property
    def row(self) -> Tensor:
        """The output of each connection, (nnz,), in the same order as `col`; made anew each time.

        The transpose is kept, for training; four more bytes a connection would serve nobody.
        """
        outputs = torch.arange(self.shape[0], device=self.device, dtype=self.dtype)
        return outputs.repeat_interleave(self.row_ptr.diff(), output_size=self.nnz)

    def keys_of_rows(self, rows: slice) -> tuple[slice, Tensor]:
        """Return which connections are those of some rows, and their keys, int64, ascending.

        The key of a connection is row · in + column; here rows count from the first of these. The
        last ones that were asked for are kept.
        """
        where = ("keys of rows", rows.start, rows.stop)
        return self.derive(where, lambda: self._keys_of_rows(rows), at_most=1)

    @property
    def transposed(self) -> Transposed:
        """The connections in column order; made on first use and kept."""
        return self.derive("transposed", self._transpose)

    @property
    def digest(self) -> int:
        """A number (32 bits) that tells these connections from others, on every machine alike."""
        if self._digest is None:
            object.__setattr__(self, "_digest", _digest(self.shape, self.row_ptr, self.col))
        assert self._digest is not None
        _known.setdefault(self._digest, self)
        return self._digest

    def derive(
        self,
        key: Hashable,
        make: Callable[[*Ts], T],
        *arguments: *Ts,
        at_most: int | None = None,
    ) -> T:
        """Return what `make` derives from the connections; made once for a `key`, and kept.

        It is called with `arguments`, where nothing is kept yet. Of keys that are tuples and begin
        alike only the `at_most` made last are kept.
        """
        derived = self._derived
        try:
            return derived[key]  # type: ignore[no-any-return]
        except KeyError:
            pass
        with self._lock:
            if key not in derived:
                made = make(*arguments)
                if at_most is not None and isinstance(key, tuple):
                    alike = [k for k in derived if isinstance(k, tuple) and k[0] == key[0]]
                    for old in alike[: len(alike) - at_most + 1]:
                        del derived[old]
                derived[key] = made
            return derived[key]  # type: ignore[no-any-return]

    def derived(self, key: Hashable) -> Any:
        """Return what `derive` has made for `key`, None where it has made nothing yet."""
        return self._derived.get(key)

    def forget(self) -> None:
        """Free what was derived, for connections of which little is asked any more.

        Whoever is computing with it keeps it until he is done, and what is asked for again is made
        again. The columns are an array again, as in the beginning.
        """
        with self._lock:
            self._derived.clear()
            self._set(col=self.col, _kept=None, _handed=None)

    def has_derived(self, key: Hashable) -> bool:
        """Return whether `derive` finds what it returns for `key`."""
        return key in self._derived

    def equals(self, other: Connectivity) -> bool:
        """Return whether both are the same connections of the same shape, wherever they are."""
        if other is self:
            return True
        if other.shape != self.shape or other.nnz != self.nnz:
            return False
        there = other.to(self.device)
        return torch.equal(self.row_ptr, there.row_ptr) and torch.equal(self.col, there.col)

    def to(self, device: torch.device | str) -> Connectivity:
        """Return the same connections on `device` (itself, if they are there already)."""
        if torch.device(device) == self.device:
            return self
        moved = Connectivity.adopt(self.shape, self.row_ptr.to(device), self.col.to(device))
        return self if moved.device == self.device else moved  # "cuda" is the current GPU

    def select(self, keep: Tensor) -> Connectivity:
        """Return the connections for which the boolean `keep` (nnz,) is True."""
        degrees = torch.zeros(self.shape[0] + 1, dtype=torch.int64, device=self.device)
        degrees[1:] = torch.bincount(self.row[keep], minlength=self.shape[0])
        dtype = index_dtype(self.shape, int(degrees.sum()))
        return Connectivity.adopt(self.shape, degrees.cumsum(0).to(dtype), self.col[keep].to(dtype))

    def mask(self) -> Tensor:
        """Return a boolean matrix (out, in), True where a connection is: for small layers."""
        mask = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
        mask[self.row.long(), self.col.long()] = True
        return mask

    def _keys_of_rows(self, rows: slice) -> tuple[slice, Tensor]:
        ptr = self.row_ptr[rows.start : rows.stop + 1].long()
        start, stop = ptr[[0, -1]].tolist()
        first = torch.arange(len(ptr) - 1, device=self.device) * self.shape[1]
        keys = first.repeat_interleave(ptr.diff(), output_size=stop - start)
        rows, connections = slice(rows.start, rows.start + len(ptr) - 1), slice(start, stop)
        return connections, keys.add_(self._columns_of(rows, connections))

    def _columns_of(self, rows: slice, connections: slice) -> Tensor:
        """Return the columns of some rows, whose connections these are."""
        with self._lock:
            return self.col[connections] if self._kept is None else self._kept[1](rows, connections)

    def _transpose(self) -> Transposed:
        col, dtype = self.col, self.dtype
        permutation = torch.argsort(col, stable=True)
        col_ptr = torch.zeros(self.shape[1] + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(torch.bincount(col, minlength=self.shape[1]), 0, out=col_ptr[1:])
        return Transposed(col_ptr.to(dtype), self.row[permutation], permutation.to(dtype))

    def __repr__(self) -> str:
        return f"Connectivity(shape={self.shape}, nnz={self.nnz}, sparsity={self.sparsity:.6g})"


def of(row_ptr: Tensor, col: Tensor, in_features: int) -> Connectivity:
    """Return the Connectivity that the arrays belong to, or one made of them.

    One that is made is kept while the tensor `col` lives, and made anew when an array has changed;
    its copies are what is computed with.

    Raises ValueError where the arrays do not describe a matrix of `in_features` columns.
    """
    if (found := owner(row_ptr, col)) is not None and found.shape[1] == in_features:
        return found
    state = version(row_ptr), version(col), row_ptr.data_ptr(), col.data_ptr(), in_features
    there, seen, made = _given.get(id(col), (None, None, None))
    if made is None or seen != state or there is None or there() is not col:
        made = Connectivity((row_ptr.numel() - 1, in_features), row_ptr, col)
        number = id(col)
        _given[number] = weakref.ref(col, lambda _: _given.pop(number, None)), state, made
    return made


def owner(row_ptr: Tensor, col: Tensor) -> Connectivity | None:
    """Return the Connectivity whose own two arrays these are, None where they are no one's."""
    found = _owners.get(id(row_ptr))
    own = found is not None and found.row_ptr is row_ptr and found.has(col)
    return found if own else None


# By the id of `row_ptr`, which lives as long as its Connectivity does; of arrays that came from
# elsewhere (the constants of an exported program) by that of `col`, and a weak reference tells when
# it is gone. No attributes of tensors, which would go into pickles of them.
_owners: weakref.WeakValueDictionary[int, Connectivity] = weakref.WeakValueDictionary()
_given: dict[int, tuple[weakref.ref[Tensor], Any, Connectivity]] = {}


def version(tensor: Tensor) -> int:
    """Return how often `tensor` was changed in place (inference tensors do not count it)."""
    return 0 if tensor.is_inference() else tensor._version


def _digest(shape: tuple[int, int], row_ptr: Tensor, col: Tensor) -> int:
    if col.is_meta:
        return 0
    hashed = hashlib.blake2b(repr(shape).encode(), digest_size=4)
    for array in (row_ptr, col):
        hashed.update(array.cpu().numpy().data)
    return int.from_bytes(hashed.digest(), "little") | 2**31  # all of one size: see connections.py


# By digest, for whoever has only that: layers that torch.func has stacked (see stacked.py).
_known: weakref.WeakValueDictionary[int, Connectivity] = weakref.WeakValueDictionary()


def known(digest: int) -> Connectivity | None:
    """Return the connections of that digest, if some are in use whose digest was asked for."""
    return _known.get(digest)
