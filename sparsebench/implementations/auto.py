"""What a user gets who measures first: the dense layer or ours, whichever is faster here."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from layers.convert.measure import compare
from sparsebench import phases
from sparsebench.case import Case
from sparsebench.implementations.base import Implementation
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.ours import Ours
from sparsebench.problem import Problem

_SECONDS = 0.3  # at most, where the two are close


class Auto(Implementation):
    """The faster of `dense` and `ours`, timed against each other when the layer is built.

    It does what `sparsebench advise` does without records, for the case's own phase. Choosing is
    part of building: no timed call pays for it.
    """

    name = "auto"
    dtypes = tuple(dtype for dtype in Dense.dtypes if dtype in Ours.dtypes)
    gflops = 30.0
    setup_s = _SECONDS
    candidates: ClassVar[tuple[Implementation, Implementation]] = (Dense(), Ours())

    def bytes_needed(self, case: Case) -> int:
        """Return what both take: they are there at once while one is chosen."""
        return sum(candidate.bytes_needed(case) for candidate in self.candidates)

    def build(self, problem: Problem) -> nn.Module:
        """Build both, time a few calls of each in turn, and return the faster one."""
        modules = [candidate.build(problem) for candidate in self.candidates]
        x = problem.x.detach().clone()
        steps = [phases.step(module, x, problem.dy, problem.phase) for module in modules]
        times = compare(*steps, device=x.device, seconds=_SECONDS)
        chosen = modules[int(times.ratio < 1)]
        chosen.zero_grad()
        return chosen

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of the weights that exist, as the chosen one keeps it."""
        return self._of(module).values_gradient(module, problem)

    def bias_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of the bias, as the chosen one keeps it."""
        return self._of(module).bias_gradient(module, problem)

    def _of(self, module: nn.Module) -> Implementation:
        return self.candidates[not isinstance(module, nn.Linear)]
