"""How much memory a module holds, and how much its state takes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from sparselayers.connectivity import Connectivity
from sparselayers.layer import SparseLayer


def held(module: nn.Module) -> Iterator[Tensor]:
    """Yield a module's parameters, buffers and connections as it holds them now, each once.

    The columns of a layer that has computed on a CPU are kept in what its kernels read: bits, or
    narrower numbers. What else kernels derive from the connections is not among the tensors, nor
    is the connections' name, a number.
    """
    yield from _parameters_and_buffers(module)
    for connectivity in _connections(module):
        yield from connectivity.arrays


def nbytes(module: nn.Module) -> int:
    """Return the bytes of a module's state: parameters, buffers, `row_ptr` and `col`, each once.

    That is what a new layer holds, and what it may hold again: see `held` for what it does now.
    """
    connections = sum(
        connectivity.row_ptr.nbytes + connectivity.nnz * connectivity.dtype.itemsize
        for connectivity in _connections(module)
    )
    return connections + sum(tensor.nbytes for tensor in _parameters_and_buffers(module))


def _parameters_and_buffers(module: nn.Module) -> Iterator[Tensor]:
    names = {f"{name}.topology_id".removeprefix(".") for name, _ in _layers(module)}
    yield from module.parameters()
    yield from (buffer for name, buffer in module.named_buffers() if name not in names)


def _connections(module: nn.Module) -> list[Connectivity]:
    found = (layer.connectivity for _, layer in _layers(module))
    return list({id(connectivity): connectivity for connectivity in found}.values())


def _layers(module: nn.Module) -> list[tuple[str, SparseLayer]]:
    return [(name, m) for name, m in module.named_modules() if isinstance(m, SparseLayer)]
