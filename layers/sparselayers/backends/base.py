"""What a backend is: the three products of a sparse layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from sparselayers.backends.plan import Choice, Plan
from sparselayers.connectivity import Connectivity


class Gradients(NamedTuple):
    """What `Backend.backward` returns: None for each gradient that was not asked for."""

    input: Tensor | None
    values: Tensor | None
    bias: Tensor | None


class Backend(ABC):
    """Three products of a weight matrix W (out, in), given as `values` (nnz,) at `connectivity`.

    Activations are matrices with any strides: `x` (batch, in) and `dy` (batch, out). All tensors
    are on one device; products accumulate in float32 or better and return the type of `values`.
    Arguments are checked before they get here. A new backend overrides the three products;
    `arrange` and `backward` are there for those that gain by sharing work between them.
    """

    name: ClassVar[str]
    # How many more activations `product` turns round than `forward`, which takes and gives rows.
    turned_by_product: ClassVar[int] = 1

    def unavailable(self) -> str | None:
        """Say why this backend cannot run on this machine, and what would help; None if it can."""
        return None

    @abstractmethod
    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Return whether this backend is available and serves `dtype` on `device`."""

    @abstractmethod
    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias, (batch, out)."""

    @abstractmethod
    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W, (batch, in)."""

    @abstractmethod
    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dvalues[p] = Σ_batch dy[b, row p] · x[b, col p], (nnz,)."""

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ laid out as `x` is best: feature by feature, (batch, out).

        What kernels are timed by: a layer's output is laid out row by row, as PyTorch's are.
        """
        return self.forward(x, values, None, connectivity).t().contiguous().t()

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` in the memory layout in which the products are fastest, perhaps a copy.

        What comes back is what is saved for the backward pass, so that an arrangement is paid once.
        """
        del connectivity
        return x

    def shortly(self, x: Tensor, connectivity: Connectivity) -> Backend:
        """Return what computes this batch for these connections alone, if that is shorter.

        That is the backend itself, unless finding out how it computes takes it longer than small
        products do, and it keeps the answer.
        """
        del x, connectivity
        return self

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients of the input, the values and the bias, each if `needs` asks for it.

        `x` is what `arrange` returned; it may be None where the gradient of the values is not
        needed.
        """
        dy = self.arrange(dy, connectivity)
        return Gradients(
            self.grad_input(dy, values, connectivity) if needs[0] else None,
            self.grad_values(dy, x, connectivity) if needs[1] and x is not None else None,
            dy.sum(0) if needs[2] else None,
        )

    def plan(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Plan:
        """Return by which way a batch is computed, and why; most backends have but one."""
        del connectivity, dtype
        only = Choice((self.name,), "the only way of this backend")
        return Plan(self.name, batch, only, only)


class OneBackward(Backend):
    """A backend whose `backward` shares so much work that each gradient alone is a case of it."""

    @abstractmethod
    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed."""

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        found = self.backward(dy, None, values, connectivity, needs=(True, False, False))
        assert found.input is not None
        return found.input

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        values = x.new_empty(0)  # their type is all that is asked of them here
        found = self.backward(dy, x, values, connectivity, needs=(False, True, False))
        assert found.values is not None
        return found.values
