"""Which weights of a layer stay connections, where a sparsity or a structure is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.structures.n_of_m import NofM
from sparselayers.structures.structure import Structure
from sparselayers.structures.unstructured import Unstructured
from sparselayers.topologies.given import from_mask


def pruned_mask(
    weight: Tensor, mask: Tensor | None, sparsity: float | None, structure: Structure
) -> Tensor:
    """Return the boolean mask, of the weight's shape, of what stays of `weight` (out, in, …).

    The largest magnitudes stay, in units of `structure`, as many as come nearest to `sparsity`.
    Without a sparsity, which N:M brings itself, what is in `mask`, or else not zero, has to keep
    the structure.

    Raises ValueError for a mask beside a sparsity, and as `Structure.select` and `check` do.
    """
    matrix = weight.detach().flatten(1)
    given = (matrix != 0) if mask is None else mask.to(weight.device).flatten(1)
    structure.check_shape((matrix.shape[0], matrix.shape[1]))
    if _is_given(sparsity, structure, masked=mask is not None):
        if bool(given.any()):
            structure.check(from_mask(given))
        return given.view(weight.shape)
    everything = from_mask(torch.ones_like(given))
    keep = structure.select(everything, matrix.abs().flatten(), sparsity).view(weight.shape)
    # Zeros stay where the structure needs them.
    return keep & (weight != 0) if structure == Unstructured() else keep


def pruned(
    connectivity: Connectivity,
    values: Tensor,
    sparsity: float | None,
    structure: Structure,
    *,
    masked: bool,
) -> Tensor:
    """Return which of the connections of a sparse layer stay, (nnz,), as `pruned_mask` does.

    `masked` says that a mask has chosen them.

    Raises ValueError as `pruned_mask` does.
    """
    structure.check_shape(connectivity.shape)
    if _is_given(sparsity, structure, masked=masked):
        structure.check(connectivity)
        return torch.ones_like(values, dtype=torch.bool)
    return structure.select(connectivity, values.abs(), sparsity)


def _is_given(sparsity: float | None, structure: Structure, *, masked: bool) -> bool:
    """Whether what stays is known, and only to be checked."""
    if masked and sparsity is not None:
        raise ValueError("give mask or sparsity, not both: a mask says what stays")
    return masked or (sparsity is None and not isinstance(structure, NofM))
