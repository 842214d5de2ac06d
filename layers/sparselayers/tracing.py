"""What tracers and function transforms need: a way to notice them, and rules to hand to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx import Proxy
from torch.nn import Module, Parameter

from sparselayers import flops

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


class Arrays(NamedTuple):
    """What an operator takes of a Connectivity; checked when the operator runs on data.

    `handle` stands for the layer in compiled programs (see handles.py).
    """

    shape: tuple[int, int]
    row_ptr: Tensor
    col: Tensor
    handle: Tensor | None = None


# The key of the vmap before torch.func, which `jacobian(vectorize=True)` uses.
_VMAP: Any = torch._C._parse_dispatch_key("VmapMode")


def is_traced(*tensors: Tensor | None) -> bool:
    """Return whether somebody traces, transforms or subclasses: data cannot be used directly."""
    return torch.compiler.is_compiling() or is_recorded(*tensors)


def is_recorded(*tensors: Tensor | None) -> bool:
    """Return the same, but for what torch.compile does."""
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN or tensor.is_meta):
            return True
    return (
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or is_jit()
        or forward_ad._current_level >= 0
    )


def is_jit() -> bool:
    """Return whether torch.jit.trace records: sizes are tensors then, and are not to be read."""
    return not torch.compiler.is_compiling() and torch._C._is_tracing()


def is_exporting() -> bool:
    """Return whether a program is made that runs without the layer, in another process perhaps."""
    return torch.compiler.is_exporting()


# Asked when something is compiled: some releases of torch.compile take the answer for True.
is_exporting._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_drawn(x: object) -> bool:
    """Return whether `x` stands for a tensor in a graph that torch.fx draws."""
    return isinstance(x, Proxy)


def drawn_untyped(forward: F) -> F:
    """Have torch.fx draw `forward` without its arguments' types.

    It writes them into the program where a layer is the whole of what is drawn. Here they are text,
    not evaluated, and such programs cannot be pickled, or copied, in PyTorch 2.11.
    """
    forward.__annotations__ = {}
    return forward


def as_node(layer: Module, x: Any) -> Any:
    """Return what `layer` gives as one node of the graph that torch.fx draws, or None.

    So it treats the modules of torch.nn. None where nobody draws, where the layer is the whole of
    what is drawn, and where it has hooks: those are drawn with what happens inside.
    """
    if not isinstance(x, Proxy) or layer._forward_hooks or layer._forward_pre_hooks:
        return None
    path = x.tracer.path_of_module(layer)  # type: ignore[attr-defined]
    return x.tracer.create_proxy("call_module", path, (x,), {}) if path else None


def is_watched(dy: Tensor) -> bool:
    """Return whether a backward pass is batched, differentiated forward, or watched by a mode."""
    return (
        type(dy) is not Tensor
        or torch._C._are_functorch_transforms_active()
        or torch._C._dispatch_tls_is_dispatch_key_included(_VMAP)
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )


def differentiable(
    operator: Any,
    save: Function,
    backward: Function,
    *,
    rows_are_independent: bool,
    has_bias: bool = False,
) -> Function:
    """Give `operator` rules for differentiation and batching; return it for use in formulas.

    The operator is linear in each of its first two arguments, and adds the third where it
    `has_bias`. Operators cannot be differentiated by torch.func, nor forward; functions can: the
    same rules make one. Where `rows_are_independent`, a batch of first arguments is computed as
    one longer batch; anything else is taken one by one.
    """

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(*args: Any) -> Any:
            return operator(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            save(ctx, inputs)
            ctx.set_materialize_grads(False)
            ctx.save_for_forward(*(i for i in inputs if isinstance(i, Tensor)))
            ctx.others = [None if isinstance(i, Tensor) else (i,) for i in inputs]

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            if gradients[0] is None:
                return (None,) * len(ctx.others)
            return backward(ctx, *gradients)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            tensors = iter(ctx.saved_tensors)
            first, second, *rest = [next(tensors) if o is None else o[0] for o in ctx.others]
            d_first, d_second, d_bias = tangents[:3]
            none, rest = ((None,), rest[1:]) if has_bias else ((), rest)
            parts = [
                call(d_first, second, *none, *rest) if d_first is not None else None,
                call(first, d_second, *none, *rest) if d_second is not None else None,
            ]
            if has_bias and d_bias is not None:
                parts.append(call(torch.zeros_like(first), second, d_bias, *rest))
            return sum(part for part in parts if part is not None)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
            # What is no tensor cannot be batched; of a list each entry has a dimension of its own.
            pairs = zip(args, in_dims, strict=True)
            dims = [dim if isinstance(arg, Tensor) else None for arg, dim in pairs]
            if rows_are_independent and not any(dim is not None for dim in dims[1:]):
                rows = args[0].movedim(dims[0], 0)
                y = call(rows.flatten(0, 1), *args[1:])
                return y.reshape(*rows.shape[:2], *y.shape[1:]), 0
            one_by_one = [
                [
                    arg if dim is None else arg.select(dim, i)
                    for arg, dim in zip(args, dims, strict=True)
                ]
                for i in range(info.batch_size)
            ]
            return torch.stack([call(*one) for one in one_by_one]), 0

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return operator(*args)
        if torch._C._len_torch_dispatch_stack() > 0:
            flops.register()
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            return Differentiable.apply(*args)
        return operator(*args)

    def set_up(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        save(ctx, inputs)

    operator.register_autograd(backward, setup_context=set_up)
    operator.register_vmap(Differentiable.vmap)
    return call


_PLAIN = (Tensor, Parameter)
