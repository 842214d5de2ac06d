"""The workloads by name, and the kernels that they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from sparsebench.regression.counted.bitmaps import Bitmaps, Panels
from sparsebench.regression.counted.few import Few
from sparsebench.regression.counted.lanes import Lanes
from sparsebench.regression.counted.n_of_m import NOfEight, NOfFour
from sparsebench.regression.counted.nonzero import Nonzero
from sparsebench.regression.counted.rewiring import Rewiring
from sparsebench.regression.counted.row_blocks import RowBlocks
from sparsebench.regression.counted.way import Way, Workload

ISA = "avx2"
WAYS: tuple[type[Way], ...] = (
    Lanes, Bitmaps, Panels, RowBlocks, NOfFour, NOfEight, Few, Nonzero, Rewiring,
)  # fmt: skip
_MODULE = "_native"


def _named() -> Iterator[tuple[str, tuple[type[Way], str, str, int]]]:
    for way in WAYS:
        for product in way.products:
            if product in way.untyped:
                yield f"{way.name}-{product}", (way, product, "", 0)
                continue
            for kind in way.types:
                for batch in way.batches:
                    of = f"{kind}-b{batch}" if batch else kind
                    yield f"{way.name}-{product}-{of}", (way, product, kind, batch)


# Way, product, type and batch.
WORKLOADS = dict(_named())


def load(path: str) -> Any:
    """Return the module of compiled kernels, with ISA chosen.

    Raises ImportError where `path` is none, or has none for ISA that this CPU runs.
    """
    loader = ExtensionFileLoader(_MODULE, path)
    spec = spec_from_file_location(_MODULE, path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return use(module)


def use(module: Any) -> Any:
    """Choose ISA, and return the kernels. Raises ImportError where they have none for it."""
    if ISA not in (names := module.supported()):
        raise ImportError(f"no kernels for {ISA} run here, but for {', '.join(names)}")
    module.use(ISA)
    return module


def workload(name: str, kernels: Any) -> Workload:
    """Return a workload, made ready; a way is arranged once for all of its workloads."""
    way, product, kind, batch = WORKLOADS[name]
    arranged = _arranged(way.name, kernels)
    made = Workload(arranged.layer, kind, batch)
    getattr(arranged, product)(made)
    return made


@cache
def _arranged(name: str, kernels: Any) -> Way:
    return next(way for way in WAYS if way.name == name)(kernels)
