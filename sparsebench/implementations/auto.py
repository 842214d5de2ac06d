"""What a user gets who measures first: whichever layer is the fastest here."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sparsebench.cases import phases
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.ours import Ours
from sparsebench.implementations.torch_csr import TorchCSR
from sparselayers.convert.measure import compare

_SECONDS = 0.3  # at most, where the two are close


class Auto(Implementation):
    """The fastest of `dense`, `ours` and, in inference, `torch_csr`, timed when it is built.

    PyTorch's CSR tensors win in inference alone, at batch 1 above all. Choosing does what
    `sparsebench advise` does without records, for the case's own phase, and is part of building:
    no timed call pays for it.
    """

    name = "auto"
    dtypes = tuple(dtype for dtype in Dense.dtypes if dtype in Ours.dtypes)
    stands_on = Ours.stands_on
    gflops = 30.0
    setup_s = _SECONDS
    candidates: ClassVar[tuple[Implementation, ...]] = (Dense(), Ours(), TorchCSR())

    def bytes_needed(self, case: Case) -> int:
        """Return what all take: they are there at once while one is chosen."""
        return sum(candidate.bytes_needed(case) for candidate in self.candidates)

    def build(self, problem: Problem) -> nn.Module:
        """Build all, time a few calls of each beside the fastest so far, and build that one anew.

        Anew, so that it lies in memory as it does where no other has been.
        """
        x = problem.x.detach().clone()
        dtype = str(x.dtype).removeprefix("torch.")
        candidates = [
            candidate
            for candidate in self.candidates
            if dtype in candidate.dtypes
            and (problem.phase == "inference" or not isinstance(candidate, TorchCSR))
        ]
        best, *others = [
            (candidate, phases.step(candidate.build(problem), x, problem.dy, problem.phase))
            for candidate in candidates
        ]
        for other in others:
            # Warm, as cases are timed: half-dense layers that fit a cache alone push each other
            # out of it, and the dense one, which has more bytes, loses more by that.
            times = compare(best[1], other[1], device=x.device, seconds=_SECONDS, warm=True)
            best = other if times.ratio < 1 else best
        chosen = best[0]
        del best, others
        return chosen.build(problem)

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of the weights that exist, as the chosen one keeps it."""
        return self._of(module).values_gradient(module, problem)

    def bias_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of the bias, as the chosen one keeps it."""
        return self._of(module).bias_gradient(module, problem)

    def forget_absent(self, module: nn.Module, problem: Problem) -> None:
        """Do what the chosen one needs."""
        self._of(module).forget_absent(module, problem)

    def _of(self, module: nn.Module) -> Implementation:
        # The sparse ones keep their weights alike.
        return self.candidates[not isinstance(module, nn.Linear)]
