"""SparseLayer: what all layers with sparse weights have in common."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn

from sparselayers import backends, dense, topologies
from sparselayers.connectivity import Connectivity, index_dtype
from sparselayers.operators import connectivity_of, forget, version

Init = Literal["linear", "fan_in"]
Format = Literal["coo", "csr"]


class SparseLayer(nn.Module):
    """A module whose weight is a sparse matrix of `shape` (out, in).

    The parameters are `values` (nnz,), the weights that exist (`weights` is another name for
    them), and `bias` (out,) or None; the connections are the integer buffers `row_ptr` and `col`,
    part of the state dict. `format` is the layout in which `weight` shows the matrix, "coo" or
    "csr"; it has no influence on how the layer computes. `k` is the fraction that
    `prune_smallest_values` removes.
    """

    dense_type: ClassVar[type[nn.Module]]

    values: nn.Parameter
    row_ptr: Tensor
    col: Tensor

    def __init__(
        self,
        connectivity: Connectivity,
        *,
        bias: bool,
        init: Init,
        dtype: torch.dtype | None,
        generator: torch.Generator | None,
        backend: str | None,
    ) -> None:
        super().__init__()
        if init not in get_args(Init):
            raise ValueError(f"init must be one of {', '.join(get_args(Init))}, got {init!r}")
        if backend is not None:
            backends.named(backend)
        self.shape = connectivity.shape
        self.init: Init = init
        self.backend = backend
        self.format: Format = "coo"
        self.k = 0.05
        self.register_buffer("row_ptr", connectivity.row_ptr)
        self.register_buffer("col", connectivity.col)
        self._seen: tuple[Any, ...] = ()
        self._connectivity: Connectivity
        values = torch.empty(connectivity.nnz, device=connectivity.device, dtype=dtype)
        self.values = nn.Parameter(values)
        self.bias = nn.Parameter(values.new_empty(self.shape[0])) if bias else None
        self.reset_parameters(generator=generator)

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw values and bias from U(−1/√n, 1/√n), where `init` says what n is (see the class)."""
        fan_in = self.shape[1]
        if self.init == "linear":
            _uniform(self.values, fan_in**-0.5, generator)
            _uniform(self.bias, fan_in**-0.5, generator)
            return
        connections = self.row_ptr.diff()
        bound = connections.clamp(min=1).float().rsqrt()
        of_each = bound.repeat_interleave(connections, output_size=self.values.numel())
        _uniform(self.values, of_each, generator)
        _uniform(self.bias, bound, generator)

    @property
    def connectivity(self) -> Connectivity:
        """The connections; follows the buffers wherever they are moved and however they change.

        Raises ValueError where the buffers have been changed into something that is no topology.
        """
        row_ptr, col = self._buffers["row_ptr"], self._buffers["col"]
        assert row_ptr is not None
        assert col is not None
        seen = self._seen
        if not (
            seen
            and seen[0] is row_ptr
            and seen[1] is col
            and seen[2] == version(row_ptr)
            and seen[3] == version(col)
        ):
            self._connectivity = connectivity_of(row_ptr, col, self.shape[1])
            self._seen = row_ptr, col, version(row_ptr), version(col)
        return self._connectivity

    @property
    def weights(self) -> nn.Parameter:
        """The values (nnz,), under their published name."""
        return self.values

    @property
    def indices(self) -> Tensor:
        """The connections as (2, nnz) int64, outputs and inputs, in the order of the values."""
        return torch.stack((self.connectivity.row.long(), self.col.long()))

    @property
    def weight(self) -> Tensor:
        """W as a sparse tensor (out, in) that shares memory with the values; for inspection."""
        values = self.values.detach()
        with warnings.catch_warnings():
            # PyTorch's: CSR tensors are in beta; 2.11 says that invariants are not checked, asked
            # for or not.
            warnings.simplefilter("ignore")
            if self.format == "csr":
                return torch.sparse_csr_tensor(
                    self.row_ptr, self.col, values, self.shape, check_invariants=False
                )
            return torch.sparse_coo_tensor(
                self.indices, values, self.shape, is_coalesced=True, check_invariants=False
            )

    @property
    def sparsity(self) -> float:
        """The fraction of the weights that do not exist."""
        return 1.0 - self.values.numel() / (self.shape[0] * self.shape[1])

    def weight_gradient(self, x: Tensor, dy: Tensor, rows: slice) -> Tensor:
        """Return those rows of the dense weight's gradient, (rows, columns), from in and output.

        `x` is an input of the layer and `dy` the gradient of the output it led to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no dense gradient")

    def set_connections(self, connectivity: Connectivity, values: Tensor) -> None:
        """Take over connections and their `values` (nnz,), of any number, in the same objects.

        The parameter and the buffers stay the same for optimizers and hooks; a gradient is lost
        where the number changes.
        """
        self._resize(connectivity.nnz)
        with torch.no_grad():
            self.values.copy_(values)
            self.row_ptr.copy_(connectivity.row_ptr)
            self.col.copy_(connectivity.col)
        self._forget()

    @classmethod
    def from_dense(
        cls,
        layer: nn.Module,
        *,
        mask: Tensor | None = None,
        keep_zeros: bool = False,
        format: Format = "coo",
    ) -> Self:
        """Return a sparse layer that computes what the dense `layer` does where it is not zero.

        Without `mask`, a boolean tensor of the weight's shape, all weights that are not zero
        become connections; with it only those under it. `keep_zeros` keeps zeros too: under the
        mask given, under that of torch.nn.utils.prune, or everywhere. Hooks, the training flag,
        `requires_grad`, type and device are those of `layer`, which is left as it is.

        Raises TypeError where `layer` is not of the dense type or computes its weight in an
        unknown way, and ValueError for a mask of another shape or type, and for no connection.
        """
        weight, bias = dense.parameters_of(layer, cls.dense_type)
        if mask is None and keep_zeros:
            mask = dense.pruning_mask(layer)
        connectivity, values = dense.connections(weight, mask, keep_zeros=keep_zeros)
        new = cls._like(
            layer,
            bias=bias is not None,
            connectivity=connectivity,
            device=weight.device,
            dtype=weight.dtype,
            # Not to draw from PyTorch's own generator what is overwritten.
            generator=torch.Generator(),
        )
        new.format = check_format(format)
        with torch.no_grad():
            new.values.copy_(values)
            if bias is not None and new.bias is not None:
                new.bias.copy_(bias)
        return dense.follow(new, layer, ("values", "weight"))

    def to_dense(self) -> nn.Module:
        """Return the dense layer that computes the same; hooks and flags as in `from_dense`."""
        new = self._dense(device="meta", dtype=self.values.dtype)
        weight = self.values.new_zeros(self.shape)
        weight[self.connectivity.row.long(), self.col.long()] = self.values.detach()
        new.weight = nn.Parameter(weight.view(cast(Tensor, new.weight).shape))
        if self.bias is not None:
            new.bias = nn.Parameter(self.bias.detach().clone())
        return dense.follow(new, self, ("weight", "values"))

    @classmethod
    def _like(cls, layer: Any, **arguments: Any) -> Self:
        """Return a sparse layer of the sizes of a dense one."""
        raise NotImplementedError

    def _dense(self, **factory: Any) -> nn.Module:
        """Return a dense layer of the sizes of this one."""
        raise NotImplementedError

    def set_k(self, k: float) -> None:
        """Let `prune_smallest_values` remove a fraction `k` in [0, 1] of all in × out entries."""
        from sparselayers.prune import set_k

        set_k(self, k)

    def prune_smallest_values(self) -> int:
        """Remove the ⌊k · in · out⌋ connections of smallest magnitude; return how many."""
        from sparselayers.prune import prune_smallest_values

        return prune_smallest_values(self)

    def __getstate__(self) -> dict[str, Any]:
        # What is derived from the buffers is made anew: it neither fills files nor goes stale.
        return {k: v for k, v in self.__dict__.items() if k != "_connectivity"} | {"_seen": ()}

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        """Take over values and connections, of another nnz too; nothing where they do not fit."""
        *_, error_msgs = args
        try:
            state = self._checked(state_dict, prefix)
        except ValueError as error:
            error_msgs.append(f"{prefix.rstrip('.') or type(self).__name__}: {error}")
            return
        self._resize(state.get(f"{prefix}col", self.col).numel())
        super()._load_from_state_dict(state, prefix, local_metadata, *args)
        self._forget()

    def _checked(self, state_dict: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Return `state_dict` with indices of the right type, or raise ValueError."""
        state = dict(state_dict)
        own = {"row_ptr": self.row_ptr, "col": self.col, "values": self.values, "bias": self.bias}
        for name, tensor in own.items():
            given = own[name] = state.get(prefix + name, tensor)
            if given is None:
                continue
            if not isinstance(given, Tensor) or given.layout != torch.strided or given.is_complex():
                raise ValueError(f"{name} must be a real dense tensor, got {_describe(given)}")
            if given.is_meta and not self.values.is_meta:
                raise ValueError(f"{name} is on the meta device: it has no data")
        row_ptr, col, values, bias = own["row_ptr"], own["col"], own["values"], own["bias"]
        assert row_ptr is not None
        assert col is not None
        assert values is not None
        if row_ptr is self.row_ptr and col is self.col:
            nnz, wanted = col.numel(), "the layer"
        else:
            alike = row_ptr.dtype == col.dtype == index_dtype(self.shape, col.numel())
            wide = [a if alike or a.is_floating_point() else a.long() for a in (row_ptr, col)]
            nnz, wanted = Connectivity(self.shape, *wide).nnz, "col"
            dtype = index_dtype(self.shape, nnz)
            state[prefix + "row_ptr"], state[prefix + "col"] = (a.to(dtype) for a in wide)
        if values.shape != (nnz,):
            raise ValueError(
                f"values have shape {tuple(values.shape)}, but {wanted} has {nnz} connections"
            )
        if bias is not None and self.bias is not None and bias.shape != self.bias.shape:
            raise ValueError(f"bias must have {self.shape[0]} entries, got {tuple(bias.shape)}")
        return state

    def _forget(self) -> None:
        """Drop what was derived from the buffers: inference tensors do not count changes."""
        self._seen = ()
        forget(self.col)

    def _resize(self, nnz: int) -> None:
        """Make room for `nnz` connections in the same parameter and buffer objects."""
        if nnz == self.values.numel():
            return
        self.values.grad = None
        for tensor in (self.values, self.col):
            tensor.data = tensor.data.new_empty(nnz)


def check_format(name: str) -> Format:
    """Return `name` if it is a Format, or raise ValueError."""
    if name not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {name!r}")
    return cast(Format, name)


def choose_connectivity(
    shape: tuple[int, int],
    sparsity: float,
    connectivity: Connectivity | Tensor | None,
    *,
    small_world: bool = False,
    generator: torch.Generator | None,
    device: torch.device | str | None,
) -> Connectivity:
    """Return the connections that the arguments of a layer ask for, in memory of its own."""
    where = torch.get_default_device() if device is None else torch.device(device)
    with torch.device("cpu"):  # the user's default device may well be "meta"
        if connectivity is None:
            topology = topologies.small_world if small_world else topologies.random
            return topology(shape, sparsity, generator=generator).to(where)
        if not isinstance(connectivity, Connectivity | Tensor):
            raise ValueError(
                "connectivity must be a Connectivity, an integer tensor (2, nnz) or a boolean mask "
                f"(out, in), got {type(connectivity).__name__}"
            )
        if device is None and connectivity.device.type != "cpu":
            where = connectivity.device
        if isinstance(connectivity, Connectivity):
            if connectivity.shape != shape:
                raise ValueError(f"connectivity has shape {connectivity.shape}, the layer {shape}")
            row_ptr, col = connectivity.row_ptr.clone(), connectivity.col.clone()
            return Connectivity(shape, row_ptr, col).to(where)
        if connectivity.dtype != torch.bool:
            return topologies.from_edges(connectivity, shape).to(where)
        if connectivity.shape != shape:
            raise ValueError(f"mask has shape {tuple(connectivity.shape)}, the layer {shape}")
        return topologies.from_mask(connectivity).to(where)


def _uniform(
    parameter: Tensor | None, bound: Tensor | float, generator: torch.Generator | None
) -> None:
    """Fill `parameter` from U(−bound, bound), drawing where the generator is."""
    if parameter is None:
        return
    device = parameter.device if generator is None else generator.device
    drawn = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    drawn.uniform_(-1.0, 1.0, generator=generator)
    with torch.no_grad():
        parameter.copy_(drawn).mul_(bound)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.layout} {value.dtype}"
    return type(value).__name__
