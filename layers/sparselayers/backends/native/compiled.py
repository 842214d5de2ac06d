"""What ways have in common whose kernels are compiled for float32 and bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.base import Backend, Gradients
from sparselayers.backends.native import library
from sparselayers.connectivity import Connectivity

_DTYPES = (torch.float32, torch.bfloat16)


class Compiled(Backend):
    """A way that serves float32 and bfloat16 on CPUs, where its kernels were built."""

    def unavailable(self) -> str | None:
        """Say how to get the kernels where they were not built."""
        return library.unavailable()

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve float32 and bfloat16 on CPUs."""
        return library.kernels is not None and device.type == "cpu" and dtype in _DTYPES

    def _rounded_once(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return gradients in bfloat16 of which that of the values is a sum in several turns.

        It would be rounded after each of them.
        """
        assert x is not None
        return Gradients(
            self.grad_input(dy, values, connectivity) if needs[0] else None,
            self.grad_values(dy.float(), x.float(), connectivity).to(values.dtype),
            dy.sum(0) if needs[2] else None,
        )
