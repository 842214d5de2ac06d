"""The weight of a sparse layer as others read it: a sparse tensor, and the layer's own products."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only

from sparselayers.connectivity import Connectivity
from sparselayers.tracing import Arrays, is_traced

Format = Literal["coo", "csr"]
Products = Mapping[Callable[..., Any], Callable[..., Tensor]]


class SparseWeight(Tensor):
    """A sparse tensor that is made when somebody reads it, and multiplied as its layer does.

    Modules that read the weights of their children find a tensor of the dense weight's shape.
    Those that pass it to F.linear (torchvision's Swin) or F.conv2d get what the layer computes, by
    its kernels, and so do those that multiply it by a batch of matrices (transformers' Mamba).
    Its views (squeeze, view and their like), which PyTorch's sparse tensors do not have, are views
    of a dense copy, differentiable too: whatever else is asked of it is asked of PyTorch's sparse
    tensor. It is for reading: what would work in place raises TypeError. As a subclass it keeps
    nn.TransformerEncoderLayer and nn.MultiheadAttention off their fused inference, which reads
    memory that is not there.
    """

    _make: Callable[[], Tensor]
    _products: Products
    _made: Tensor | None

    @classmethod
    def of(cls, values: Tensor, make: Callable[[], Tensor], products: Products) -> SparseWeight:
        """Stand for what `make` makes of `values` (nnz,).

        `products` are called instead of the functions they are found by where the second argument
        is the weight, with the other arguments.
        """
        # Compilers know no other way to make a subclass; other tracers' tensors have none, and
        # nothing is read of what it is made of.
        if is_traced(values) and not torch.compiler.is_dynamo_compiling():
            new = Tensor._make_subclass(cls, _NOTHING)
        else:
            new = values.as_subclass(cls)
        new._make, new._products, new._made = make, products, None
        return new

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if not torch.compiler.is_dynamo_compiling() and _writes(func):
            _refuse_to_write(func, args[0] if args else given.get("tensor"))
        weight = args[1] if len(args) > 1 else given.get("weight")
        if isinstance(weight, SparseWeight):
            product = weight._products.get(func)
            if product is not None:
                given.pop("weight", None)
                return product(*args[:1], *args[2:], **given)
        if func in _MATMULS and isinstance(args[0], SparseWeight) and _is_batch(args[1]):
            linear = args[0]._products.get(F.linear)
            if linear is not None:
                return linear(args[1].mT).mT
        if func == _DATA and isinstance(args[0], SparseWeight):
            return _data(args[0])
        if func in _VIEWS and isinstance(args[0], SparseWeight):
            return func(_made(args[0]).to_dense(), *args[1:], **given)
        # Attention multiplies by its projection with PyTorch's own F.linear, which takes CSR only.
        made = _made_csr if func is F.multi_head_attention_forward else _made
        args, given = tree_map_only(SparseWeight, made, (args, given))
        return func(*args, **given)


def check_format(name: str) -> Format:
    """Return `name` if it is a Format, or raise ValueError."""
    if name not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {name!r}")
    return cast(Format, name)


def as_tensor(
    values: Tensor, connectivity: Connectivity | Arrays, shape: tuple[int, ...], format: Format
) -> Tensor:
    """Return a sparse tensor of `values` (nnz,), in the memory of those, and of that layout.

    As COO of any `shape` whose first dimension is the rows and whose others make up the columns.
    """
    row_ptr, col = connectivity.row_ptr, connectivity.col
    with warnings.catch_warnings():
        # PyTorch's: CSR tensors are in beta; 2.11 says that invariants are not checked, asked for
        # or not.
        warnings.simplefilter("ignore")
        if format == "csr":
            arrays = row_ptr.clone(), col.clone()
            return torch.sparse_csr_tensor(*arrays, values, shape, check_invariants=False)
        rows = torch.arange(shape[0], device=col.device)
        row = rows.repeat_interleave(row_ptr.diff(), output_size=values.numel())
        columns: list[Tensor] = []
        rest = col.long()
        for size in reversed(shape[1:]):
            columns.insert(0, rest % size)
            rest = rest // size
        return torch.sparse_coo_tensor(
            torch.stack((row, *columns)), values, shape, is_coalesced=True, check_invariants=False
        )


def _writes(func: Callable[..., Any]) -> bool:
    """Whether PyTorch's name for it says that it works in place."""
    name = getattr(func, "__name__", "")
    if name == "__setitem__":
        return True
    return name.endswith("_") and not name.endswith("__") and name not in _NO_WRITES


def _refuse_to_write(func: Callable[..., Any], written: Any) -> None:
    """Raise TypeError where a weight would be written to: of some writes nothing would be left."""
    if isinstance(written, SparseWeight):
        raise TypeError(
            f"{func.__name__}: the weight of a sparse layer is a view for reading, made anew each "
            "time: write to the parameter `weights` (nnz,)"
        )


def _is_batch(matrices: Any) -> bool:
    return isinstance(matrices, Tensor) and matrices.layout == torch.strided and matrices.dim() > 2


def _made(weight: SparseWeight) -> Tensor:
    """The sparse tensor that it stands for, the same one always."""
    if weight._made is None:
        weight._made = weight._make()
    return weight._made


def _data(weight: SparseWeight) -> Tensor:
    """Return `weight.data`: for reading too, without the products, which are differentiable."""
    data = _made(weight).data
    if torch.compiler.is_dynamo_compiling():
        return data
    with torch._C.DisableTorchFunctionSubclass():
        bare = weight.detach().as_subclass(Tensor)
    return SparseWeight.of(bare, lambda: data, {})


def _made_csr(weight: SparseWeight) -> Tensor:
    made = _made(weight)
    if made.layout == torch.sparse_csr:
        return made
    with warnings.catch_warnings():  # as in `as_tensor`
        warnings.simplefilter("ignore")
        return made.to_sparse_csr()


_NO_WRITES = ("requires_grad_", "detach_")  # PyTorch says itself what is wrong with the first
_MATMULS = frozenset((torch.matmul, Tensor.matmul, Tensor.__matmul__))
_VIEWS = frozenset(
    getattr(owner, name)
    for owner in (torch, Tensor)
    for name in ("squeeze", "unsqueeze", "view", "reshape", "flatten", "permute", "expand")
    if hasattr(owner, name)
)
_DATA = Tensor.data.__get__  # type: ignore[attr-defined]
_NOTHING = torch.empty(0)
