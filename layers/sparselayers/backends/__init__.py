"""Backends: who computes the three products, and where one of them is chosen.

`select` chooses by device and type. `native` calls the C++ kernels of `csrc/` on CPUs, and chooses
their instruction set; `triton` calls those in `triton_kernels/` on GPUs, where
`triton_kernels.choice` chooses the way and `triton_kernels.tuning` the tile. `csr` is PyTorch's own
sparse product, `reference` the oracle; `base` is what all are.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch

from sparselayers.backends.base import Backend, Gradients
from sparselayers.backends.csr import Csr
from sparselayers.backends.native import (
    Amx,
    Bitmaps,
    Lanes,
    Native,
    NOfEight,
    NOfFour,
    Panels,
    RowBlocks,
)
from sparselayers.backends.reference import Reference
from sparselayers.backends.triton import Bitmaps as TritonBitmaps
from sparselayers.backends.triton import Gather as TritonGather
from sparselayers.backends.triton import Triton

__all__ = ["BACKENDS", "Backend", "Gradients", "fallen_back", "named", "select"]

# In order of preference: the first that can serve a device and a type does.
_TRITON = Triton()
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Native(),
        _TRITON,
        Csr(),
        Reference(),
        Lanes(),
        Bitmaps(),
        Panels(),
        Amx(),
        RowBlocks(),
        NOfFour(),
        NOfEight(),
        TritonGather(),
        TritonBitmaps(),
    )
}


def select(device: torch.device, dtype: torch.dtype, name: str | None = None) -> Backend:
    """Return the backend called `name`, or the first that serves tensors of `dtype` on `device`.

    Raises ValueError where there is no such backend or it cannot serve them.
    """
    if name is None:
        return _first(device, dtype)
    backend = BACKENDS.get(name) or named(name)
    if not backend.supports(device, dtype):
        if reason := backend.unavailable():
            raise ValueError(f"backend {name!r} is not available: {reason}")
        raise ValueError(f"backend {name!r} does not serve {dtype} on {device}")
    return backend


def named(name: str) -> Backend:
    """Return the backend called `name`, available or not; raises ValueError if there is none."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    return BACKENDS[name]


def fallen_back() -> str:
    """Return why kernels that served in this process do no longer; nothing if they do."""
    kinds = (backend for backend in BACKENDS.values() if isinstance(backend, Triton))
    return next((backend.broken for backend in kinds if backend.broken), "")


@cache
def _first(device: torch.device, dtype: torch.dtype) -> Backend:
    _warn_of_missing_kernels(device)
    try:
        return next(b for b in BACKENDS.values() if b.supports(device, dtype))
    except StopIteration:
        raise ValueError(f"no backend serves {dtype} on {device}") from None


_warned: set[str] = set()


def _warn_of_missing_kernels(device: torch.device) -> None:
    """Say once for a kind of device, when a layer is first used there, that it could be fast."""
    if device.type == "cpu":
        reason, instead = BACKENDS["native"].unavailable(), "run slowly in plain PyTorch"
    elif device.type == "cuda":
        reason, instead = _TRITON.refusal(device), "fall back to PyTorch's CSR tensors"
    else:
        return
    if reason is None or device.type in _warned:
        return
    _warned.add(device.type)  # before the warning, which may be an error
    warnings.warn(
        f"the fast kernels are missing, sparse layers {instead}: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )
