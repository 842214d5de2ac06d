"""Files with weights: where they are, what they are called, and the matrices in them.

A matrix is called by its file, as it is found in a data folder or below the folder that was named,
and by its tensor where a file holds several: `dlmc/rn50/…/final_dense.smtx`,
`model.safetensors:layer.weight`. The connections of a case are drawn, or its `topology` is
`file:NAME@DIGEST`: the name and the digest of the connections, which are the same on every machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sparsebench.cases.weights import checkpoints, resnet50, scipy_files, smtx, tensors
from sparsebench.cases.weights.matrix import Matrix
from sparsebench.cases.weights.resnet50 import Window
from sparsebench.datafolders import places_to_look
from sparsebench.errors import InputError

PREFIX = "file:"

_ONE: dict[str, Callable[[Path], Matrix]] = {
    ".smtx": smtx.read,
    ".mtx": scipy_files.read_mtx,
    ".npz": scipy_files.read_npz,
}
_MANY = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (*_ONE, *_MANY)


@dataclass(frozen=True)
class Source:
    """A matrix that a file holds: all that a case has to know of it, and where it is."""

    name: str
    digest: str
    shape: tuple[int, int]
    nnz: int
    window: Window | None
    path: str

    @property
    def topology(self) -> str:
        """What its connections are called."""
        return f"{PREFIX}{self.name}@{self.digest}"

    @property
    def sparsity(self) -> float:
        """The share of its weights that are zero."""
        return 1.0 - self.nnz / (self.shape[0] * self.shape[1])


def find(paths: Sequence[str], min_sparsity: float) -> list[Source]:
    """Return every matrix in `paths`: files, folders of them, of Hugging Face, patterns with `*`.

    A path is looked for where the command runs, then in the data folders. `FILE:TENSOR` is one
    tensor of a checkpoint; of the others those with a share of zeros of `min_sparsity` or more.

    Raises InputError, naming the file, for what is not there, what holds no matrix and what is
    damaged: all files are read.
    """
    found: dict[tuple[str, str], Source] = {}
    for path in paths:
        for file, name, tensor in _files(path):
            stamp = file.stat().st_mtime_ns
            for source in _sources(file, name, tensor, min_sparsity, stamp):
                found[source.name, source.digest] = source
    return list(found.values())


def read(topology: str, path: str) -> Matrix:
    """Return the matrix of a case, from `path` if that is there, else from a data folder.

    Raises InputError where it is in neither, or its connections are others than the case asks for.
    """
    name, digest = matrix_name(topology), topology.rpartition("@")[2]
    file_name, _, tensor = name.partition(":")
    places = [Path(path)] if path else []
    places += [folder / file_name for _, folder in places_to_look()]
    for place in places:
        if not place.exists():
            continue
        matrix = next(matrix for _, matrix in _matrices(place, tensor or None, 0.0))
        if matrix.digest != digest:
            raise InputError(
                f"{name}: has other connections (digest {matrix.digest}) than those asked for "
                f"({digest}): the file has changed"
            )
        return matrix
    raise InputError(f"{name}: not found on this machine; looked in {_looked()}")


def matrix_name(topology: str) -> str:
    """Return the name of the matrix that `topology` names; an empty one where it is drawn."""
    if not topology.startswith(PREFIX):
        return ""
    return topology.removeprefix(PREFIX).rpartition("@")[0]


def network(name: str) -> str:
    """Return the network that a matrix belongs to: its checkpoint, or the folder of its network.

    Of folders in each other that is the second: `dlmc/rn50/magnitude_pruning/0.9/…` is of rn50.
    """
    file, _, tensor = name.partition(":")
    *folders, last = file.split("/")
    if tensor or not folders:
        return last
    return folders[1] if len(folders) > 1 else folders[0]


def _files(text: str) -> Iterator[tuple[Path, str, str | None]]:
    """Yield each file that `text` means: where it is, its name, and the tensor asked for."""
    for given, tensor in ((text, None), _parted(text)):
        if not (places := _places(given)):
            continue
        for place, called in places:
            yield from ((file, name, tensor) for file, name in _below(place, called))
        return
    raise InputError(f"weights = {text!r}: no such file or folder; looked in {_looked()}")


def _parted(text: str) -> tuple[str, str | None]:
    path, colon, tensor = text.rpartition(":")
    return (path, tensor) if colon else (text, None)


def _places(text: str) -> list[tuple[Path, str]]:
    """Return what a path or a pattern means, in the first place that has it, and how it is called.

    What a pattern finds is called by as much of its path as the pattern has.
    """
    path = Path(text).expanduser()
    for base in (Path(), *(folder for _, folder in places_to_look())):
        if (base / path).exists():
            return [(base / path, Path(os.path.abspath(base / path)).name)]
        if not path.is_absolute() and re.search(r"[*?\[]", text):
            found = sorted(base.glob(text))
            if found:
                return [(place, place.relative_to(base).as_posix()) for place in found]
    return []


def _below(place: Path, called: str) -> Iterator[tuple[Path, str]]:
    """Yield the files at and below `place` that may hold weights, with their names."""
    if place.is_file():
        if place.suffix not in SUFFIXES:
            raise InputError(f"{place}: no format that is read: {', '.join(SUFFIXES)}")
        yield place, _name(place, called)
        return
    some = False
    inside: set[Path] = set()
    for path in [place, *sorted(place.rglob("*"))]:
        if inside & set(path.parents):
            continue
        name = called if path == place else f"{called}/{path.relative_to(place).as_posix()}"
        if path.is_dir() and checkpoints.is_folder(path):
            inside.add(path)
            yield path, _name(path, name)
            some = True
        elif path.is_file() and path.suffix in SUFFIXES:
            yield path, _name(path, name)
            some = True
    if not some:
        raise InputError(f"{place}: no file in it ends with one of {', '.join(SUFFIXES)}")


def _name(path: Path, otherwise: str) -> str:
    """Return the name of a file: its path within a data folder where it is in one."""
    full = path.resolve()
    for _, folder in places_to_look():
        if full.is_relative_to(folder.resolve()) and full != folder.resolve():
            return _plain(full.relative_to(folder.resolve()).as_posix())
    return _plain(otherwise)


def _plain(name: str) -> str:
    """Return a name without what separates the parts of keys, filters and names."""
    return re.sub(r"[\s,@:=]", "_", name)


@cache
def _sources(
    file: Path, name: str, tensor: str | None, min_sparsity: float, stamp: int
) -> list[Source]:
    """Return what `file` holds; read once, while its time of change is `stamp`."""
    del stamp
    return [
        Source(
            name=f"{name}:{_plain(part)}" if part else name,
            digest=matrix.digest,
            shape=matrix.connectivity.shape,
            nnz=matrix.connectivity.nnz,
            window=resnet50.window(name) or _of_tensor(matrix),
            path=os.path.abspath(file),  # not where a link leads: its name tells the format
        )
        for part, matrix in _matrices(file, tensor, min_sparsity)
    ]


def _of_tensor(matrix: Matrix) -> Window | None:
    return Window(matrix.kernel) if matrix.kernel else None


def _matrices(place: Path, tensor: str | None, min_sparsity: float) -> Iterator[tuple[str, Matrix]]:
    """Yield the matrices of a file or of a Hugging Face folder, with their tensors' names."""
    try:
        if place.suffix in _ONE and place.is_file():
            if tensor:
                raise InputError(f"{place}: holds one matrix, and no tensor {tensor!r}")
            yield "", _ONE[place.suffix](place)
            return
        opener = checkpoints.open_folder if place.is_dir() else checkpoints.open_file
        held = opener(place)
    except OSError as error:
        raise InputError(f"{place}: cannot be read: {error.strerror or error}") from None
    if tensor is not None:
        tensor = next((n for n in tensors.weights_of(held) if _plain(n) == _plain(tensor)), tensor)
    yield from tensors.matrices(held, str(place), only=tensor, min_sparsity=min_sparsity)


def _looked() -> str:
    return "; ".join(["here", *(f"{what}: {folder}" for what, folder in places_to_look())])
