"""How much a connection matters beside its magnitude, and choices that are not always the best."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity


def relative_importance(weights: Tensor, connectivity: Connectivity) -> Tensor:
    """Return |w_ij| / Σ_i' |w_i'j| + |w_ij| / Σ_j' |w_ij'|, (nnz,): the share of w in its neurons.

    Links of neurons with few others count more than those of hubs. Of neurons whose weights are
    all 0, each has an equal share.

    Source: Zhang et al. 2024, Plug-and-Play (arXiv 2402.17902), as CHTs (arXiv 2501.19107) uses it.
    """
    magnitudes = weights.detach().abs().double()
    row, col = connectivity.row.long(), connectivity.col.long()
    total = torch.zeros_like(magnitudes)
    for neurons, size in ((row, connectivity.shape[0]), (col, connectivity.shape[1])):
        sums = magnitudes.new_zeros(size).index_add_(0, neurons, magnitudes)[neurons]
        equal = torch.bincount(neurons, minlength=size)[neurons].double().reciprocal()
        total += torch.where(sums > 0, magnitudes / sums, equal)
    return total


def sampled_order(scores: Tensor, uniform: Tensor) -> Tensor:
    """Return an order whose first k are a draw of k without replacement, ∝ `scores` (n,) ≥ 0.

    log s − log(−log u), the largest first, for `uniform` u in (0, 1): drawing one after the other
    from a multinomial distribution gives the same sets with the same chances. Scores of 0 come
    last.

    Source: Kool et al. 2019 (Gumbel-top-k, arXiv 1903.06059), after Efraimidis and Spirakis 2006.
    """
    return scores.double().log() - (-uniform.log()).log()
