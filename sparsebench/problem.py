"""The numbers that all implementations of a case get alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import layers
from layers import Connectivity
from sparsebench.case import Case, Phase

TOPOLOGIES: dict[str, Callable[..., Connectivity]] = {"random": layers.random}


@dataclass(frozen=True, eq=False)
class Problem:
    """A layer's connections and weights, an input, and the gradient that comes back.

    `values` (nnz,), `bias` (out,), `x` (batch, in), `dy` (batch, out): on one device, of one type.
    `phase` is what the module will do, for those who build differently for inference.
    """

    connectivity: Connectivity
    values: Tensor
    bias: Tensor
    x: Tensor
    dy: Tensor
    phase: Phase = "forward_backward"


def make(case: Case) -> Problem:
    """Draw the problem of `case` from its seed: on the CPU, so that every device gets the same.

    Weights have the variance that keeps the outputs' near 1, whatever the sparsity.
    """
    generator = torch.Generator().manual_seed(case.seed)
    shape = (case.out_features, case.in_features)
    connectivity = TOPOLOGIES[case.topology](shape, case.sparsity, generator=generator)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(getattr(torch, case.dtype))

    scale = (connectivity.nnz / case.out_features) ** -0.5
    return Problem(
        connectivity=connectivity,
        values=normal(connectivity.nnz) * scale,
        bias=normal(case.out_features),
        x=normal(case.batch, case.in_features),
        dy=normal(case.batch, case.out_features),
    )


def save(problem: Problem, path: Path) -> None:
    """Write `problem` to `path`, for `load`."""
    connectivity = problem.connectivity
    torch.save(
        {
            "shape": connectivity.shape,
            "row_ptr": connectivity.row_ptr,
            "col": connectivity.col,
            "tensors": (problem.values, problem.bias, problem.x, problem.dy),
        },
        path,
    )


def load(path: Path, device: str, phase: Phase = "forward_backward") -> Problem:
    """Read what `save` wrote, onto `device`, to be used for `phase`."""
    stored = torch.load(path, map_location=device, weights_only=True)
    connectivity = Connectivity(stored["shape"], stored["row_ptr"], stored["col"])
    values, bias, x, dy = stored["tensors"]
    return Problem(connectivity, values, bias, x, dy, phase)
