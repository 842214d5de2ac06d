"""SET: grow at random."""

from __future__ import annotations

from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.site import Site


class SET(Rewirer):
    """Grow at random, uniformly among the absent connections, in O(nnz).

    The paper drops, once an epoch and for the whole training, a constant share of the positive
    and as large a share of the negative weights: `decay="constant"` comes next to it. Here, as in
    the comparisons of the RigL paper, the smallest magnitudes of either sign are dropped.

    Source: Mocanu et al. 2018, Sparse Evolutionary Training (arXiv 1707.04780).
    """

    needs_gradient = False
    reads_gradient = False
    keeps_structure = True

    def grow(self, site: Site, count: int) -> Tensor | Connectivity:
        """Return `count` absent connections, drawn from `site.generator`."""
        return site.scattered(count)
