"""The layers of this project: with the fastest backend, and with the reference one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsebench.cases import topologies
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparselayers import KWinners, KWinners2d, SparseConv2d, SparseLinear, backends
from sparselayers.backends import Backend


class Ours(Implementation):
    """`sparselayers.SparseLinear` and `sparselayers.SparseConv2d` as a user gets them."""

    name = "ours"
    operations: ClassVar[tuple[str, ...]] = ("linear", "conv2d", "product", "k_winners")
    gflops = 30.0
    stands_on = ("sparselayers",)
    backend: ClassVar[str | None] = None
    linear: ClassVar[type[SparseLinear]] = SparseLinear

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer of the problem's connections and copy its numbers."""
        out_features, in_features = problem.connectivity.shape
        given: dict[str, Any] = {
            "connectivity": problem.connectivity,
            "device": problem.values.device,
            "dtype": problem.values.dtype,
            "backend": self.backend,
        }
        layer: SparseLinear | SparseConv2d
        if geometry := problem.geometry:
            layer = SparseConv2d(
                problem.x.shape[1],
                out_features,
                geometry.kernel,
                geometry.stride,
                geometry.padding[::2],
                groups=geometry.groups,
                **given,
            )
        else:
            layer = self.linear(in_features, out_features, **given)
        with torch.no_grad():
            layer.weights.copy_(problem.values)
            layer.bias.copy_(problem.bias)  # type: ignore[union-attr]
        return layer

    def product(self, problem: Problem) -> nn.Module:
        """Call the backend's product, without a layer around it."""
        values = problem.values
        return _Product(problem, backends.select(values.device, values.dtype, self.backend))

    def now(self, module: nn.Module, problem: Problem) -> Problem:
        """Return what the layer is connected by."""
        assert isinstance(module, SparseLinear)
        assert module.bias is not None
        return replace(
            problem,
            connectivity=module.connectivity,
            values=module.weights.detach().clone(),
            bias=module.bias.detach().clone(),
        )

    def construction(self, case: Case) -> Callable[[], nn.Module]:
        """Make the layer as a user does: the topology, or their own list, and drawn numbers."""
        connections = topologies.ready(case)
        dtype = getattr(torch, case.dtype)

        def make() -> nn.Module:
            return self.linear(
                case.in_features,
                case.out_features,
                connectivity=connections(),
                device=case.device,
                dtype=dtype,
                backend=self.backend,
            )

        return make

    def activation(self, problem: Problem) -> nn.Module:
        """Return `sparselayers.KWinners`, of images `KWinners2d`, that boost and count who wins."""
        x = problem.x
        sparsity = 1.0 - problem.winners / x[0].numel()
        made: KWinners
        if x.dim() == 2:
            made = KWinners(sparsity, features=x.shape[1])
        else:
            made = KWinners2d(sparsity, features=x.shape[1], local=False)
        return made.to(x.device).train(problem.phase != "inference")

    def boost(self, module: nn.Module) -> Tensor | None:
        """Return exp(β (k/n − d)) of the duty cycles d."""
        assert isinstance(module, KWinners)
        share = 1.0 - module.sparsity
        return torch.exp(module.boost_strength * (share - module.duty_cycle.double()))


class _Product(nn.Module):
    weights: Tensor

    def __init__(self, problem: Problem, backend: Backend) -> None:
        super().__init__()
        self.connectivity, self.backend = problem.connectivity, backend
        self.register_buffer("weights", problem.values.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.backend.product(x, self.weights, self.connectivity)
