"""SparseLinear: a linear layer that stores and multiplies only the weights that exist."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from sparselayers import backends, plain, resizing, tracing
from sparselayers.backends.plan import Plan
from sparselayers.compat import PublishedSchedule, accepting
from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.dynamic.automatic import SelfRewiring
from sparselayers.functional import linear_of, of_layer, sparse_linear
from sparselayers.initialization import Init
from sparselayers.layer import only
from sparselayers.topologies import arguments

torch.fx.wrap("linear_of")


class SparseLinear(SelfRewiring, PublishedSchedule):
    """Apply y = x Wᵀ + b with a sparse W (out, in), sparse in forward and backward alike.

    Input (*, in_features), output (*, out_features). The parameters are `weights` (nnz,), those
    that exist, and `bias` (out_features,); the connections are a Connectivity, `connectivity`,
    and the arrays `row_ptr` and `col` of the state dict.

    `connectivity` is a Connectivity, an integer tensor (2, nnz) of outputs and inputs, or a
    boolean mask (out, in). Without it, round((1 − sparsity) · in · out) connections are drawn
    from `generator`: uniformly, or with `small_world=True` preferably near the diagonal
    (`sparselayers.topologies.small_world`). `init="linear"` draws weights and bias from U(±1/√in),
    as nn.Linear does; `init="fan_in"` from U(±1/√n), with n the connections that the output has;
    "kaiming" and "lognormal" are in `reset_parameters`.
    `backend` names one of `sparselayers.backends.BACKENDS`; by default the fastest one available.

    With `dynamic=True` the layer rewires itself while it trains, as RigL does
    (`sparselayers.dynamic`): at every `update_every`-th step before step `stop_after` of the
    optimizer that has its weights, the share `fraction`/2 · (1 + cos(π t / stop_after)) of the
    connections is replaced; at most `max_size` entries of the dense gradient exist at a time. The
    steps made are in the state dict.

    An output without connections is its bias; a NaN in the input reaches the outputs that are
    connected to it.

    Raises ValueError for sizes that are not positive, a sparsity outside [0, 1) or one that
    leaves no connection, connections that do not fit the layer, an unknown `init` or `backend`,
    and for `connectivity` together with `small_world`.
    """

    dense_type = nn.Linear

    @accepting(deltaT="update_every", Tend="stop_after", alpha="fraction")
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        sparsity: float = 0.9,
        connectivity: Connectivity | Tensor | None = None,
        small_world: bool = False,
        dynamic: bool = False,
        update_every: int = 6000,
        stop_after: int = 150_000,
        fraction: float = 0.1,
        max_size: float = 1e8,
        *,
        init: Init = "linear",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
        backend: str | None = None,
    ) -> None:
        shape = check_shape((out_features, in_features))
        if connectivity is not None and small_world:
            raise ValueError("choose one: connectivity, or small_world=True")
        chosen = arguments.choose(
            shape,
            sparsity,
            connectivity,
            small_world=small_world,
            generator=generator,
            device=device,
        )
        super().__init__(
            chosen, bias=bias, init=init, dtype=dtype, generator=generator, backend=backend
        )
        self.in_features, self.out_features = in_features, out_features
        self.dynamic, self.max_size = dynamic, max_size
        self.update_every, self.stop_after, self.fraction = update_every, stop_after, fraction
        if dynamic:
            self.rewire_itself()

    @tracing.drawn_untyped
    def forward(self, x: Tensor | None = None, *, input: Tensor | None = None) -> Tensor:
        """Return x Wᵀ + b, (*, out_features); `input` is another name of `x`."""
        if x is None or input is not None:
            x = only(x, input)
        connections = self._connections
        if torch.compiler.is_compiling():
            if not tracing.is_exporting() and resizing.breaks(connections.handle):
                return resizing.outside(self, x)  # type: ignore[no-any-return]
            return sparse_linear(x, self.weights, self.bias, self.traced, backend=self.backend)
        # nn.Module takes half a microsecond to find an attribute that is a parameter.
        parameters, mark = self._parameters, self._buffers["topology_id"]
        weights, bias = parameters.get("weights"), parameters.get("bias")
        weights = self.weights if weights is None else weights
        bias = self.bias if bias is None else bias
        y = plain.product(x, weights, bias, connections, mark, self.backend)
        if y is not None:
            return y
        traced = tracing.is_recorded(x, weights, bias)
        if traced and tracing.is_drawn(x):
            return self._drawn(x)
        watcher = connections.watcher
        if watcher is not None:
            x = watcher.enter(x)
        where = self.traced if traced else self.connectivity
        y = of_layer(x, weights, bias, where, self.backend, connections, traced)
        if watcher is not None:
            watcher.leave(x, weights, y)
        return y

    def plan(self, batch: int) -> Plan:
        """Return by which ways a batch of so many rows is computed, and why; print it to read it.

        On a CPU this measures the ways first, unless that has been done on this machine
        (`sparselayers.backends.native.calibration`).

        Raises ValueError for a batch below 0.
        """
        if batch < 0:
            raise ValueError(f"a batch has 0 rows or more, got {batch}")
        weights = self.weights
        chosen = backends.select(weights.device, weights.dtype, self.backend)
        return chosen.plan(batch, self.connectivity, weights.dtype)

    def _drawn(self, x: Any) -> Tensor:
        """Return the product as torch.fx draws it."""
        node = tracing.as_node(self, x)
        if node is not None:
            return node  # type: ignore[no-any-return]
        return linear_of(self._connections, x, self.weights, self.bias, self.backend)

    def weight_gradient(self, x: Tensor, dy: Tensor, rows: slice) -> Tensor:
        """Return those rows of the gradient of the dense weight, (rows, in_features)."""
        dy = dy.reshape(-1, self.out_features)[:, rows]
        return dy.t() @ x.reshape(-1, self.in_features)

    def gradient_at(self, x: Tensor, dy: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the dense weight's gradient at the places of `connectivity` alone, (nnz,)."""
        x, dy = x.reshape(-1, self.in_features), dy.reshape(-1, self.out_features)
        backend = backends.select(x.device, x.dtype, self.backend)
        arranged = backend.arrange(x, connectivity), backend.arrange(dy, connectivity)
        return backend.grad_values(arranged[1], arranged[0], connectivity)

    @classmethod
    def _like(cls, layer: nn.Linear, **arguments: Any) -> Self:
        return cls(layer.in_features, layer.out_features, **arguments)

    def _dense(self, **factory: Any) -> nn.Linear:
        return nn.Linear(self.in_features, self.out_features, self.bias is not None, **factory)

    def extra_repr(self) -> str:
        """Say what `print(layer)` shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, sparsity={self.sparsity:.4g}, "
            f"nnz={self.weights.numel()}"
        )
