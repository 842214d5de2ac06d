"""How much memory a module holds."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from sparselayers.layer import SparseLayer


def held(module: nn.Module) -> Iterator[Tensor]:
    """Yield a module's parameters, buffers and connections, each once.

    What kernels derive from the connections is not among them, nor is their name, a number.
    """
    layers = {name: m for name, m in module.named_modules() if isinstance(m, SparseLayer)}
    names = {f"{name}.topology_id".removeprefix(".") for name in layers}
    yield from module.parameters()
    yield from (buffer for name, buffer in module.named_buffers() if name not in names)
    for connectivity in {id(c): c for c in (m.connectivity for m in layers.values())}.values():
        yield connectivity.row_ptr
        yield connectivity.col


def nbytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters, buffers and connections, each counted once."""
    return sum(tensor.nbytes for tensor in held(module))
