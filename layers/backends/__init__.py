"""Ways to compute the three products; the only place where a device is chosen."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from layers.backends.base import Backend, Gradients
from layers.backends.native import Native
from layers.backends.reference import Reference

__all__ = ["BACKENDS", "Backend", "Gradients", "named", "select"]

# In order of preference: the first that can serve a device and a type does.
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Native(), Reference())}


def select(device: torch.device, dtype: torch.dtype, name: str | None = None) -> Backend:
    """Return the backend called `name`, or the first that serves tensors of `dtype` on `device`.

    Raises ValueError where there is no such backend or it cannot serve them.
    """
    if name is None:
        return _first(device, dtype)
    backend = named(name)
    if reason := backend.unavailable():
        raise ValueError(f"backend {name!r} is not available: {reason}")
    if not backend.supports(device, dtype):
        raise ValueError(f"backend {name!r} does not serve {dtype} on {device}")
    return backend


def named(name: str) -> Backend:
    """Return the backend called `name`, available or not; raises ValueError if there is none."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    return BACKENDS[name]


@cache
def _first(device: torch.device, dtype: torch.dtype) -> Backend:
    if device.type == "cpu":
        _warn_of_missing_kernels()
    try:
        return next(b for b in BACKENDS.values() if b.supports(device, dtype))
    except StopIteration:
        raise ValueError(f"no backend serves {dtype} on {device}") from None


_warned = False


def _warn_of_missing_kernels() -> None:
    """Say once, when a layer is first used on a CPU, that it could be fast."""
    global _warned  # set before the warning, which may be an error
    if _warned or not (reason := BACKENDS["native"].unavailable()):
        return
    _warned = True
    warnings.warn(
        f"the fast kernels are missing, sparse layers run slowly in plain PyTorch: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )
