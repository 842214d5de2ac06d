"""nn.Linear and nn.Conv2d with absent weights left at zero: what sparse has to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparselayers import from_mask


class Dense(Implementation):
    """Multiplies by every weight and computes every weight's gradient, as dense training does."""

    name = "dense"
    operations: ClassVar[tuple[str, ...]] = ("linear", "conv2d", "product", "k_winners")
    activates: ClassVar[Literal["k_winners", "relu"]] = "relu"
    gflops = 60.0

    def flops(self, case: Case) -> float:
        """Count every weight."""
        return 2.0 * case.batch * case.windows * case.weights

    def bytes_needed(self, case: Case) -> int:
        """Count the weight and its gradient; where it is trained, the weight as it was, too."""
        copies = 3 if case.phase == "train_step" else 2
        return super().bytes_needed(case) + copies * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Scatter the values into the weight of an nn.Linear or nn.Conv2d."""
        return conv2d_of(problem) if problem.geometry else linear_of(problem)

    def product(self, problem: Problem) -> nn.Module:
        """Multiply the weight, (out, in), by xᵀ as it lies."""
        return _Product(problem)

    def activation(self, problem: Problem) -> nn.Module:
        """Return a ReLU: what a dense network has where a sparse one has k-winners."""
        del problem
        return nn.ReLU()

    def now(self, module: nn.Module, problem: Problem) -> Problem:
        """Return the layer as one with every connection."""
        weight, bias = (module.get_parameter(n).detach().clone() for n in ("weight", "bias"))
        full = from_mask(torch.ones_like(weight, dtype=torch.bool))
        return replace(problem, connectivity=full, values=weight.flatten(), bias=bias)

    def construction(self, case: Case) -> Callable[[], nn.Module]:
        """Make an nn.Linear of the shape: it has no connections to draw."""
        where = {"device": case.device, "dtype": getattr(torch, case.dtype)}
        return lambda: nn.Linear(case.in_features, case.out_features, **where)

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Gather the gradient of the weights that exist."""
        gradient = module.get_parameter("weight").grad
        assert gradient is not None
        return gradient.flatten(1)[problem.connectivity.row, problem.connectivity.col]

    def forget_absent(self, module: nn.Module, problem: Problem) -> None:
        """Keep the weights at the problem's connections; all others were trained as well."""
        weight = module.get_parameter("weight").detach().flatten(1)
        place = problem.connectivity.row, problem.connectivity.col
        kept = weight[place]
        weight.zero_()[place] = kept


class _Product(nn.Module):
    weight: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.register_buffer("weight", weight_of(problem))

    def forward(self, x: Tensor) -> Tensor:
        return torch.mm(self.weight, x.t()).t()


def linear_of(problem: Problem) -> nn.Linear:
    """Return the nn.Linear that computes what the sparse layer of `problem` does."""
    out_features, in_features = problem.connectivity.shape
    # Made without storage: a large weight is not to be there twice, not even for a moment.
    linear = nn.Linear(in_features, out_features, device="meta", dtype=problem.values.dtype)
    linear.weight = nn.Parameter(weight_of(problem))
    linear.bias = nn.Parameter(problem.bias.clone())
    return linear


def conv2d_of(problem: Problem) -> nn.Conv2d:
    """Return the nn.Conv2d that computes what the sparse convolution of `problem` does."""
    geometry = problem.geometry
    assert geometry is not None
    channels, out_channels = problem.x.shape[1], problem.connectivity.shape[0]
    window = {
        "kernel_size": geometry.kernel,
        "stride": geometry.stride,
        "padding": geometry.padding[::2],
        "groups": geometry.groups,
    }
    conv = nn.Conv2d(
        channels,
        out_channels,
        **window,  # type: ignore[arg-type]  # each is what nn.Conv2d takes
        device="meta",
        dtype=problem.values.dtype,
    )
    conv.weight = nn.Parameter(weight_of(problem).view(conv.weight.shape))
    conv.bias = nn.Parameter(problem.bias.clone())
    return conv


def weight_of(problem: Problem) -> Tensor:
    """Return the dense weight matrix, zero where there is no connection."""
    connectivity = problem.connectivity
    weight = problem.values.new_zeros(connectivity.shape)
    weight[connectivity.row, connectivity.col] = problem.values
    return weight
