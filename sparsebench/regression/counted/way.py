"""What all ways to compute share: a layer, its workloads, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from random import Random
from typing import Any

from sparsebench.regression.counted.memory import Memory, given

OUTPUTS, INPUTS = 256, 512
BATCHES = (1, 16, 64)
TYPES = ("f32", "bf16")
THREADS = 1
Place = tuple[int, int, int]  # address, stride of the batch and of the features
NOWHERE: Place = (0, 0, 0)


class Layer:
    """Random connections in CSR order, so many of 256 places; `height` rows in a row are alike.

    Or, of every M inputs after one another, N: `n_of_m`.
    """

    def __init__(self, of_256: int, height: int = 1, n_of_m: tuple[int, int] = (0, 0)) -> None:
        (n, m), drawn, rows = n_of_m, Random(0), []
        for _ in range(OUTPUTS // height):
            if m:
                groups = (sorted(drawn.sample(range(m), n)) for _ in range(INPUTS // m))
                row = [m * number + place for number, group in enumerate(groups) for place in group]
            else:
                places = enumerate(drawn.randbytes(INPUTS))
                row = [place for place, byte in places if byte < of_256]
            rows += [row] * height
        self.row_ptr = [0, *accumulate(map(len, rows))]
        self.col = [place for row in rows for place in row]
        self.nnz = len(self.col)


class Workload:
    """Calls of kernels, one after the other; `results` are what they write, by the products' names.

    `size` is of how many connections and rows of the batch: where revisions differ in it, their
    counts are not compared. A batch of 0 stands for what no batch has a part in.
    """

    def __init__(self, layer: Layer, kind: str, batch: int) -> None:
        self.kind, self.batch = kind, batch
        self.size = layer.nnz * max(1, batch)
        self.results: dict[str, Memory] = {}
        self._layer = layer
        self._calls: list[Callable[[], object]] = []
        self._kept: list[Memory] = []

    def call(self, kernel: Callable[..., object], *arguments: object) -> None:
        """Call `kernel` after those that were named before."""
        self._calls.append(partial(kernel, *arguments))

    def run(self) -> None:
        """Call all of them."""
        for call in self._calls:
            call()

    def room(self, kind: str, count: int) -> int:
        """Return the address of memory to work in, which lasts as long as the workload does."""
        return self.keep(Memory(kind, count))

    def keep(self, memory: Memory) -> int:
        """Return the address of memory, which lasts as long as the workload does."""
        self._kept.append(memory)
        return memory.address

    def result(self, name: str, count: int, kind: str | None = None) -> int:
        """Return the address of memory for a result, of the workload's type unless it has one."""
        self.results[name] = Memory(kind or self.kind, count)
        return self.results[name].address

    def values(self) -> int:
        """Return the address of the weights."""
        return given(self.kind, self._layer.nnz, 1).address

    def bias(self) -> int:
        """Return the address of the bias."""
        return given(self.kind, OUTPUTS, 2).address

    def x(self) -> Place:
        """Return where the batch is."""
        return given(self.kind, self.batch * INPUTS, 3).address, INPUTS, 1

    def dy(self) -> Place:
        """Return where the gradient of the output is."""
        return given(self.kind, self.batch * OUTPUTS, 4).address, OUTPUTS, 1

    def y(self) -> Place:
        """Return where the output goes."""
        return self.result("y", self.batch * OUTPUTS), OUTPUTS, 1

    def dx(self) -> Place:
        """Return where the gradient of the batch goes."""
        return self.result("dx", self.batch * INPUTS), INPUTS, 1

    def dweights(self) -> int:
        """Return the address of memory for the gradient of the weights."""
        return self.result("dweights", self._layer.nnz)


class Way:
    """A way to compute the products of a layer, arranged for its connections.

    Each of `products` is a method that adds calls to a workload; "arrange" makes what was arranged
    again. There is a workload of each for all types and batches, or one of what is `untyped`.
    """

    name: str
    products: tuple[str, ...]
    untyped: tuple[str, ...] = ("arrange",)
    types: tuple[str, ...] = TYPES
    batches: tuple[int, ...] = BATCHES
    of_256 = 26  # places with a connection
    inputs_of_256 = 256  # inputs that are not zero
    height = 1
    n_of_m = (0, 0)  # connections of so many inputs, in place of places of 256

    def __init__(self, kernels: Any) -> None:
        self.layer = Layer(self.of_256, self.height, self.n_of_m)
        self.kernels = kernels
        self.ptr = Memory.of("i32", self.layer.row_ptr)

    def kernel(self, name: str, work: Workload) -> Any:
        """Return the kernel of that name for the type of a workload."""
        return getattr(self.kernels, f"{name}_{work.kind}")


def lengths(ptr: Sequence[float]) -> tuple[int, int]:
    """Return how many rows have connections, and how many the longest has."""
    each = [int(last - first) for first, last in pairwise(ptr)]
    return sum(map(bool, each)), max(each)
