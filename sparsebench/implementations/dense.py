"""nn.Linear with the weights that do not exist left at zero: what sparse has to beat."""

from __future__ import annotations

from torch import Tensor, nn

from sparsebench.case import Case
from sparsebench.implementations.base import DTYPE_BYTES, Implementation
from sparsebench.problem import Problem


class Dense(Implementation):
    """Multiplies by every weight and computes every weight's gradient, as dense training does."""

    name = "dense"
    gflops = 60.0

    def flops(self, case: Case) -> float:
        """Count every weight."""
        return 2.0 * case.batch * case.in_features * case.out_features

    def bytes_needed(self, case: Case) -> int:
        """Count the weight and its gradient."""
        weights = case.in_features * case.out_features
        return super().bytes_needed(case) + 2 * weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Scatter the values into the weight of an nn.Linear."""
        return linear_of(problem)

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Gather the gradient of the weights that exist."""
        gradient = module.get_parameter("weight").grad
        assert gradient is not None
        return gradient[problem.connectivity.row, problem.connectivity.col]


def linear_of(problem: Problem) -> nn.Linear:
    """Return the nn.Linear that computes what the sparse layer of `problem` does."""
    connectivity, values = problem.connectivity, problem.values
    out_features, in_features = connectivity.shape
    # Made without storage: a large weight is not to be there twice, not even for a moment.
    linear = nn.Linear(in_features, out_features, device="meta", dtype=values.dtype)
    weight = values.new_zeros(connectivity.shape)
    weight[connectivity.row, connectivity.col] = values
    linear.weight = nn.Parameter(weight)
    linear.bias = nn.Parameter(problem.bias.clone())
    return linear
