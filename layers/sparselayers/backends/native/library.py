"""The compiled kernels: whether they are there, for which instruction set, on how many threads."""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor

kernels: ModuleType | None
try:
    kernels = importlib.import_module("sparselayers._native")
except ImportError as error:
    kernels, missing = None, str(error)

INSTRUCTION_SETS = ("scalar", "avx2", "avx512")
SUFFIXES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16"}
_VARIABLE = "SPARSEBENCH_ISA"

# What is worth a thread: to start one takes as long as it takes to move so many numbers.
WORTH_A_THREAD = 1 << 15


def unavailable() -> str | None:
    """Say how to get the kernels where they were not built."""
    if kernels is None:
        return f"{missing}; install a C++ compiler, then reinstall with: pip install ."
    return None


def isa() -> tuple[str, str]:
    """Return the instruction set whose kernels run, and why this one.

    Raises ValueError where the environment asks for one that is unknown or that the CPU lacks,
    and ImportError where the kernels were not built.
    """
    if kernels is None:
        raise ImportError(missing)
    supported = kernels.supported()
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return supported[-1], "the widest that this CPU and build have"
    if wanted not in INSTRUCTION_SETS:
        raise ValueError(f"{_VARIABLE}={wanted}: choose one of {', '.join(INSTRUCTION_SETS)}")
    if wanted not in supported:
        raise ValueError(f"{_VARIABLE}={wanted}: this CPU or build has only {', '.join(supported)}")
    return wanted, f"set by {_VARIABLE}"


@cache
def ready() -> ModuleType:
    """Return the kernels, with the instruction set chosen that they run on."""
    assert kernels is not None
    kernels.use(isa()[0])
    return kernels


def loops(dtype: torch.dtype, *names: str) -> SimpleNamespace:
    """Return the kernels of these names for values of `dtype`, each under its name."""
    made = {name: getattr(ready(), f"{name}_{SUFFIXES[dtype]}") for name in names}
    return SimpleNamespace(**made)


def threads(moved: int) -> int:
    """Return how many threads are worth starting to move so many numbers, or indices."""
    return min(torch.get_num_threads(), max(1, moved // WORTH_A_THREAD))


def work_of_product(batch: int, nnz: int) -> int:
    """Return what a product moves: a connection is some work by itself, and more for a batch."""
    return nnz * (12 + batch // 4)


def threads_of_product(
    batch: int, nnz: int, dtype: torch.dtype, *, products: int = 1, cut: bool = True
) -> int:
    """Return how many threads are worth starting for a product, or for several at once.

    Where threads work on one block of a batch together, the others have to fetch what one has
    arranged. `cut`: one block may be cut for them (lanes/blocks.h); not for gradients of weights in
    bfloat16, which all add up together.
    """
    work, number = work_of_product(batch, nnz), torch.get_num_threads()
    cut = cut and not (products > 1 and dtype == torch.bfloat16)
    if products * work < _alone.get((number, dtype), 0) and _together(batch, dtype, number, cut):
        return 1
    return threads(work)


def may_be_alone(batch: int, nnz: int, dtype: torch.dtype) -> bool:
    """Return whether such a product may take one thread because of that, wherever it is."""
    small = 0 < work_of_product(batch, nnz) < ALONE_AT_MOST
    return small and _together(batch, dtype, torch.get_num_threads(), cut=True)


def _together(batch: int, dtype: torch.dtype, number: int, cut: bool) -> bool:
    """Whether so many threads have no rows of their own, and more to fetch than a few."""
    if number == 1 or batch <= _FETCHED_FROM:
        return False
    if not cut:
        return batch <= _A_BLOCK * (number - 1)
    own = loops(dtype if dtype in SUFFIXES else torch.float32, "has_own_blocks")
    return not own.has_own_blocks(batch, number)


_FETCHED_FROM = 4
_A_BLOCK = 128  # rows at most
ALONE_AT_MOST = 1.7e6  # work up to which it is looked for (calibration.py)
_alone: dict[tuple[int, torch.dtype], float] = {}


def leave_alone(number: int, dtype: torch.dtype, work: float) -> None:
    """Have products of less work than that take one thread, where there are so many."""
    _alone[number, dtype] = work


def address(tensor: Tensor | None) -> int:
    """Return where a tensor's numbers are, 0 where there is none."""
    return 0 if tensor is None else tensor.data_ptr()
