"""HasDenseForm: a sparse layer made of a dense one that computes the same, and back."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from sparselayers import dense, structures
from sparselayers.state import Stateful
from sparselayers.structures import Structure
from sparselayers.structures.conversion import pruned_mask
from sparselayers.weight import Format, check_format


class HasDenseForm(Stateful):
    """The half of a sparse layer that knows its dense counterpart, of `dense_type`."""

    dense_type: ClassVar[type[nn.Module]]
    format: Format

    @property
    def indices(self) -> Tensor:
        """The connections as (2, nnz) int64, outputs and inputs, in the order of the weights."""
        raise NotImplementedError

    @classmethod
    def from_dense(
        cls,
        layer: nn.Module,
        *,
        mask: Tensor | None = None,
        keep_zeros: bool = False,
        format: Format = "coo",
        sparsity: float | None = None,
        structure: Structure | str | None = None,
    ) -> Self:
        """Return a sparse layer that computes what the dense `layer` does where it is not zero.

        Without `mask`, a boolean tensor of the weight's shape, all weights that are not zero
        become connections; with it only those under it. `keep_zeros` keeps zeros too: under the
        mask given, under that of torch.nn.utils.prune, or everywhere. Hooks, the training flag,
        `requires_grad`, type and device are those of `layer`, which is left as it is.

        Raises TypeError where `layer` is not of the dense type or computes its weight in an
        unknown way, and ValueError for a mask of another shape or type, and for no connection.
        """
        weight, bias = dense.parameters_of(layer, cls.dense_type)
        if mask is None and keep_zeros:
            mask = dense.pruning_mask(layer)
        if sparsity is not None or structure is not None:
            dense.check_mask(mask, (weight.shape,))
            mask = pruned_mask(weight, mask, sparsity, structures.named(structure))
            keep_zeros = True
        connectivity, values = dense.connections(weight, mask, keep_zeros=keep_zeros)
        new = cls._like(
            layer,
            bias=bias is not None,
            connectivity=connectivity,
            device=weight.device,
            dtype=weight.dtype,
            # Not to draw from PyTorch's own generator what is overwritten.
            generator=torch.Generator(),
        )
        new.format = check_format(format)
        with torch.no_grad():
            new.weights.copy_(values)
            if bias is not None and new.bias is not None:
                new.bias.copy_(bias)
        return dense.follow(new, layer, ("weights", "weight"))

    def to_dense(self) -> nn.Module:
        """Return the dense layer that computes the same; hooks and flags as in `from_dense`."""
        new = self._dense(device="meta", dtype=self.weights.dtype)
        weight = self.weights.new_zeros(self.shape)
        weight[*self.indices] = self.weights.detach()
        new.weight = nn.Parameter(weight.view(cast(Tensor, new.weight).shape))
        if self.bias is not None:
            new.bias = nn.Parameter(self.bias.detach().clone())
        return dense.follow(new, self, ("weight", "weights"))

    @classmethod
    def _like(cls, layer: Any, **arguments: Any) -> Self:
        """Return a sparse layer of the sizes of a dense one."""
        raise NotImplementedError

    def _dense(self, **factory: Any) -> nn.Module:
        """Return a dense layer of the sizes of this one."""
        raise NotImplementedError
