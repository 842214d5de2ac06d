"""The numbers that all implementations of a case get alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sparsebench.cases import topologies, weights
from sparsebench.cases.case import Case, Phase
from sparsebench.cases.weights import resnet50
from sparsebench.cases.weights.matrix import Matrix
from sparselayers import Connectivity
from sparselayers.convolution.geometry import Geometry
from sparselayers.functional import k_winners


@dataclass(frozen=True, eq=False)
class Problem:
    """A layer's connections and weights, an input, and the gradient that comes back.

    `values` (nnz,), `bias` (out,), `x` (batch, in), `dy` (batch, out): on one device, of one type.
    `phase` is what the module will do, for those who build differently for inference. A convolution
    has a `geometry`, x of (batch, in, height, width) and dy of (batch, out, height', width'). Of a
    product the bias is zero, and x lies feature by feature. Of an activation there are no weights,
    and `winners` says how many units of a sample win; of images x and dy are as a convolution's.
    """

    connectivity: Connectivity
    values: Tensor
    bias: Tensor
    x: Tensor
    dy: Tensor
    phase: Phase = "forward_backward"
    geometry: Geometry | None = None
    winners: int = 0


def make(case: Case) -> Problem:
    """Draw the problem of `case` from its seed: on the CPU, so that every device gets the same.

    Weights that are drawn have the variance that keeps the outputs' near 1, whatever the sparsity.
    Raises InputError where the matrix of a file is to be measured, and is not there, and
    `topologies.Undrawable` where the topology has no such connections.
    """
    generator = torch.Generator().manual_seed(case.seed)
    if case.operation == "k_winners":
        return _of_units(case, generator)
    geometry = _geometry(case)
    given = _given(case) or Matrix(topologies.draw(case, generator))
    connectivity = given.connectivity
    dtype = getattr(torch, case.dtype)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(dtype)

    scale = (connectivity.nnz / case.out_features) ** -0.5
    seen = (case.image, case.image) if geometry else ()
    made = geometry.output_size(case.image, case.image) if geometry else ()
    problem = Problem(
        connectivity=connectivity,
        values=normal(connectivity.nnz) * scale if given.values is None else given.values.to(dtype),
        bias=normal(case.out_features),
        x=with_zeros(normal(case.batch, case.in_features, *seen), case),
        dy=normal(case.batch, case.out_features, *made),
        geometry=geometry,
    )
    if case.operation == "product":
        x = problem.x.t().contiguous().t()
        return replace(problem, x=x, bias=torch.zeros_like(problem.bias))
    return problem


def with_zeros(x: Tensor, case: Case) -> Tensor:
    """Return `x` with the share of zeros that the input of `case` has: the largest units stay."""
    if not case.input_sparsity:
        return x
    return k_winners(x, max(1, round((1.0 - case.input_sparsity) * x.shape[-1])))


def _of_units(case: Case, generator: torch.Generator) -> Problem:
    """Draw the units of an activation, and the gradient that comes back."""
    seen = (case.image, case.image) if case.image > 1 else ()
    dtype = getattr(torch, case.dtype)
    x, dy = (
        torch.randn(case.batch, case.in_features, *seen, generator=generator).to(dtype)
        for _ in range(2)
    )
    none = Connectivity((1, 1), torch.tensor([0, 1]), torch.tensor([0]))
    return Problem(
        connectivity=none,
        values=x.new_zeros(1),
        bias=x.new_zeros(0),
        x=x,
        dy=dy,
        winners=max(1, round((1.0 - case.sparsity) * x[0].numel())),
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
            "geometry": problem.geometry.flat() if problem.geometry else None,
            "winners": problem.winners,
        },
        path,
    )


def load(path: Path, device: str, phase: Phase = "forward_backward") -> Problem:
    """Read what `save` wrote, onto `device`, to be used for `phase`."""
    stored = torch.load(path, map_location=device, weights_only=True)
    connectivity = Connectivity(stored["shape"], stored["row_ptr"], stored["col"])
    values, bias, x, dy = stored["tensors"]
    geometry = Geometry.from_flat(stored["geometry"]) if stored["geometry"] else None
    return Problem(connectivity, values, bias, x, dy, phase, geometry, stored["winners"])


def _given(case: Case) -> Matrix | None:
    """Return the matrix that the case's file holds; None where connections are drawn."""
    if not (name := weights.matrix_name(case.topology)):
        return None
    matrix = weights.read(case.topology, case.path)
    if case.operation == "conv2d" and resnet50.window(name):
        return resnet50.in_order(matrix, case.kernel)
    return matrix


def _geometry(case: Case) -> Geometry | None:
    if case.operation != "conv2d":
        return None
    return Geometry.of(case.kernel, case.stride, case.padding, groups=case.groups)
