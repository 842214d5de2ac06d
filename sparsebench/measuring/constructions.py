"""Layers that are made: what that takes, in time and in memory, connections included.

What is made is a layer like any other: it has the connections that the case's seed gives, and its
output and gradients are compared with the oracle's for the numbers that it has drawn. Each call has
to make another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations import Implementation
from sparsebench.measuring import memory, oracle
from sparsebench.measuring.verification import Incorrect, judge, verify
from sparsebench.records import Memory


def check(
    implementation: Implementation,
    make: Callable[[], nn.Module],
    given: Problem,
    folder: Path,
    dtype: str,
) -> dict[str, float]:
    """Return the errors of a layer that is made, by name, against the oracle.

    `given` has the connections that are asked for. Raises Incorrect where the layer has others,
    where it is not the work, and where two calls make one layer.
    """
    module, other = make(), make()
    used = {parameter.data_ptr() for parameter in module.parameters()}
    if module is other or used & {parameter.data_ptr() for parameter in other.parameters()}:
        raise Incorrect("two calls made one layer")
    del other
    has, wanted = implementation.now(module, given), given.connectivity
    made = has.connectivity
    full = made.nnz == made.shape[0] * made.shape[1]  # a dense layer is: it has all of them
    if not full and not (
        torch.equal(made.row_ptr, wanted.row_ptr) and torch.equal(made.col, wanted.col)
    ):
        raise Incorrect("the layer has other connections than those asked for")
    path = folder / "built.pt"
    torch.save(oracle.expected(replace(has, x=has.x.detach())), path)
    errors = verify(implementation, module, has, path)
    judge(errors, dtype)
    return errors


def take_memory(make: Callable[[], nn.Module], device: str) -> Memory:
    """Take what a layer holds that is made, and the peak while it is made above that."""
    kept = [make()]  # what is loaded and kept for all is no layer's own
    kept.clear()
    empty = memory.held(device)
    kept.append(make())
    held = max(0, memory.held(device) - empty)
    kept.clear()
    rise, method = memory.peak(lambda: kept.append(make()), device, forget=kept.clear)
    kept.clear()
    return Memory(held=held, training_peak=max(0, rise - held), method=method)
