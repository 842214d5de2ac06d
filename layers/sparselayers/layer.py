"""SparseLayer: what all layers with sparse weights have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sparselayers import backends, initialization, stacked, state
from sparselayers.connections import Connections, new_mark
from sparselayers.connectivity import Connectivity
from sparselayers.dense_form import HasDenseForm
from sparselayers.functional import sparse_linear
from sparselayers.initialization import Init, check_init
from sparselayers.topologies.arguments import Choice
from sparselayers.topology_change import TopologyChange
from sparselayers.tracing import Arrays, is_exporting, is_jit, is_traced
from sparselayers.weight import Format, SparseWeight, as_tensor

_BLOCK = 2**21  # entries of a dense gradient that exist at a time


class SparseLayer(HasDenseForm):
    """A module whose weight is a sparse matrix of `shape` (out, in).

    The parameters are `weights` (nnz,), those that exist, and `bias` (out,) or None. The
    connections are a Connectivity, `connectivity`; `row_ptr` and `col` show it, here and in the
    state dict (see connections.py). `format` is the layout in which `weight` shows the matrix,
    "coo" or "csr"; it has no influence on how the layer computes.
    """

    def __init__(
        self,
        chosen: Choice,
        *,
        bias: bool,
        init: Init,
        dtype: torch.dtype | None,
        generator: torch.Generator | None,
        backend: str | None,
    ) -> None:
        super().__init__()
        check_init(init)
        if backend is not None:
            backends.named(backend)
        connectivity, device = chosen
        self.shape = connectivity.shape
        self.init: Init = init
        self.backend = backend
        self.format: Format = "coo"
        self._connections = Connections(connectivity)
        mark = new_mark(connectivity.device)
        self.register_buffer("topology_id", mark, persistent=False)
        self._connections.mark(mark)
        values = torch.empty(connectivity.nnz, device=device, dtype=dtype)
        self.weights = nn.Parameter(values)
        self.bias = nn.Parameter(values.new_empty(self.shape[0])) if bias else None
        self.reset_parameters(generator=generator)

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw weights and bias as `init` says: n is in, or the connections of each output.

        "linear": U(±1/√n) with n = in, as nn.Linear; all others count connections. "fan_in":
        U(±1/√n). "kaiming": weights from N(0, 2/n), for ReLU (He et al. 2015, arXiv 1502.01852; SWI
        of CHT, openreview iayEcORsGd). "lognormal": weights ±exp(N(μ, 1)), of random sign and with
        the variance of "fan_in", 1/(3n): few strong ones among many weak, as between neurons of
        the brain (Buzsáki and Mizuseki 2014, doi 10.1038/nrn3687). Biases are U(±1/√n).
        """
        if self.weights.is_meta:
            return
        if self.init == "linear":
            initialization.by_inputs(self.weights, self.bias, self.shape[1], generator)
        else:
            row_ptr = self.connectivity.row_ptr
            initialization.by_connections(self.weights, self.bias, row_ptr, generator, self.init)

    @property
    def connectivity(self) -> Connectivity:
        """The connections, where the weights are; never changed, but replaced by others.

        Raises ValueError where somebody wrote what is no topology into `row_ptr` or `col`, and
        RuntimeError where the weights were made those of other connections (see connections.py).
        """
        connections, mark = self._connections, self._buffers["topology_id"]
        now = connections.get()
        # What FSDP or a parametrization has taken away is where the buffer is.
        there = self._parameters.get("weights", mark)
        if there is not None and now.device != there.device and not there.is_meta:
            connections.move(there.device)
            now = connections.current
        if mark is not None:
            if connections.unmarked:
                torch.autograd.graph.increment_version(self.weights)
                connections.mark(mark)
            connections.check(mark)
        return connections.current

    @property
    def traced(self) -> Arrays:
        """The connections for operators that tracers record."""
        mark = self._buffers["topology_id"]
        if not (torch.compiler.is_compiling() or is_jit()):
            self._connections.get()
            if mark is not None and stacked.is_stacked(mark):
                return stacked.arrays(mark, self.shape)
        elif self._connections.waiting:
            raise RuntimeError(self._connections.why)
        self._connections.lay_out()
        now, handle = self._connections.current, None
        if torch.compiler.is_compiling() and not is_exporting():
            handle = self._connections.handle
        return Arrays(self.shape, now.row_ptr, now.col, handle)

    @property
    def row_ptr(self) -> Tensor:
        """Where each row begins, (out + 1,): a copy; what is written to it takes effect."""
        return self._connections.shown[0]

    @row_ptr.setter
    def row_ptr(self, row_ptr: Tensor) -> None:
        self._connections.show(row_ptr=row_ptr)

    @property
    def col(self) -> Tensor:
        """The input of each connection, (nnz,): a copy; what is written to it takes effect."""
        return self._connections.shown[1]

    @col.setter
    def col(self, col: Tensor) -> None:
        self._connections.show(col=col)

    @property
    def indices(self) -> Tensor:
        """The connections as (2, nnz) int64, outputs and inputs, in the order of the weights."""
        connectivity = self.connectivity
        return torch.stack((connectivity.row.long(), connectivity.col.long()))

    @property
    def weight(self) -> Tensor:
        """W as a sparse tensor (out, in) that shares memory with `weights`, differentiable.

        Penalties on it, and code that calls F.linear with it, give their gradient to `weights`.
        F.linear computes as the layer does; other products are PyTorch's, and slower (see
        weight.py).
        """
        values, connectivity = self.weights.view(-1), self._any_connectivity()

        def linear(input: Tensor, bias: Tensor | None = None) -> Tensor:
            return sparse_linear(
                input, values, bias, connectivity, backend=self.backend, owner=self._connections
            )

        make = partial(as_tensor, values, connectivity, self.shape, self.format)
        return SparseWeight.of(values, make, {F.linear: linear})

    def _any_connectivity(self) -> Connectivity | Arrays:
        return self.traced if is_traced(self.weights) else self.connectivity

    @property
    def sparsity(self) -> float:
        """The fraction of the weights that do not exist."""
        return 1.0 - self.weights.numel() / (self.shape[0] * self.shape[1])

    def weight_gradient(self, x: Tensor, dy: Tensor, rows: slice) -> Tensor:
        """Return those rows of the dense weight's gradient, (rows, columns), from in and output.

        `x` is an input of the layer and `dy` the gradient of the output it led to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no dense gradient")

    def gradient_at(self, x: Tensor, dy: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the dense weight's gradient at the places of `connectivity` alone, (nnz,)."""
        height, col = max(1, _BLOCK // self.shape[1]), connectivity.col
        pieces = []
        for start in range(0, self.shape[0], height):
            rows = slice(start, min(start + height, self.shape[0]))
            first, last = connectivity.row_ptr[[rows.start, rows.stop]].tolist()
            if first < last:
                row = connectivity.row[first:last].long() - start
                block = self.weight_gradient(x, dy, rows)
                pieces.append(block[row, col[first:last].long()])
        return torch.cat(pieces)

    def set_connections(self, connectivity: Connectivity, weights: Tensor) -> None:
        """Take over connections and their `weights` (nnz,), of any number.

        The parameter stays the same object, for optimizers; a gradient is lost where the number
        changes. Graphs made before refuse to be differentiated. Hooks are told at the end.

        Raises ValueError where the weights are sharded over processes, or parametrized.
        """
        state.require_whole(self)
        with torch.no_grad():
            weights = weights.to(self.weights)
            if connectivity.nnz == self.weights.numel():
                self.weights.copy_(weights)
            else:
                state.resize(self.weights, connectivity.nnz)
                self.weights.copy_(weights)
        self._replace(TopologyChange(self._connections.current, connectivity))

    def register_topology_hook(
        self, hook: Callable[[SparseLayer, TopologyChange], None]
    ) -> RemovableHandle:
        """Have `hook(layer, change)` called after every change of the connections.

        `change.places` says for each new connection where it stood before, −1 for one that has
        grown, and `change.carry(tensor)` takes along what is kept for each connection. Weights
        and connections are the new ones by then. Returns a handle whose `remove` ends it. Copies
        of the layer have no hooks.
        """
        return self._connections.register(hook)

    def _replace(self, change: TopologyChange) -> None:
        """Let the new connections be the layer's, and say so."""
        self._connections.replace(change)
        torch.autograd.graph.increment_version(self.weights)
        mark = self._buffers["topology_id"]
        if mark is not None:
            self._connections.mark(mark)
        for hook in tuple(self._connections.hooks.values()):
            hook(self, change)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # The connections and their name go where the weights go; of what `fn` does else, such as
        # to cast, to share or to empty them, they take no part.
        mark, self._buffers["topology_id"] = self._buffers["topology_id"], None
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:
            if mark is None or mark.device != self.weights.device:
                mark = new_mark(self.weights.device)
            self._buffers["topology_id"] = mark
        if not self.weights.is_meta:
            self._connections.move(self.weights.device)
        self._connections.mark(mark)
        return self


def only(x: Tensor | None, input: object) -> Tensor:
    """Return the one argument of a layer that is given, by whichever name, or raise TypeError."""
    if isinstance(input, torch.fx.Proxy):  # symbolic_trace gives all that can be given
        return cast(Tensor, x)
    if (x is None) == (input is None):
        given = "no input" if x is None else "both x and input"
        raise TypeError(f"a sparse layer takes one input, called x or input: got {given}")
    return cast(Tensor, input if x is None else x)
