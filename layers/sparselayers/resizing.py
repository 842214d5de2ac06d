"""Layers of compiled models that change their number of connections again and again.

torch.compile takes the size of every parameter for a constant: each pruning would compile the
model anew, until its limit is reached. So it is told at the third size that a layer has been
compiled for that the layer's product is none of its business: it breaks the graph there, runs the
layer as it runs eagerly, and compiles what is around it, for the last time. (A program that sets
`torch._dynamo.config.force_parameter_static_shapes = False` has one graph for all sizes, and no
break.)
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from sparselayers import handles

_SIZES = 2  # for so many a layer is compiled as part of the graph

# What calls a layer outside the graph; made when it is wanted: it takes PyTorch's compiler.
outside: Any = None


def breaks(handle: Tensor) -> bool:
    """Return, at the time of compiling, whether a layer is to be left out of the graph.

    The layer is the one that `handle` stands for: a tensor is no constant of the program, and so
    blocks that are alike, each compiled by itself, share theirs.
    """
    global outside
    connections = handles.owner_of(handle)
    if connections is None or not torch._dynamo.config.force_parameter_static_shapes:
        return False
    if outside is None:
        outside = torch.compiler.disable(_call)  # type: ignore[no-untyped-call]
    connections.compiled_for.add(connections.current.nnz)
    return len(connections.compiled_for) > _SIZES


# What torch.compiler.assume_constant_result does, without importing the compiler.
breaks._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _call(layer: Any, x: Any) -> Any:
    _leave_alone(type(layer).forward.__code__)
    return layer.forward(x)


@functools.cache
def _leave_alone(code: Any) -> None:
    """Keep the compiler from compiling the method by itself where it is not part of a graph.

    It would for every layer, and reach its limit, with nothing in what it compiles. From then on
    a layer that is compiled alone, not as part of a model, runs eagerly.
    """
    dynamo = torch._C._dynamo.eval_frame
    with suppress(AttributeError):  # none of this is public: without it, the limit is reached
        skip = dynamo._FrameAction.SKIP
        dynamo.set_code_exec_strategy(code, dynamo._FrameExecStrategy(skip, skip))
