"""Where connections grow: one class for each rule."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.site import Site


class RigL(Rewirer):
    """Grow where the loss falls fastest: the largest gradient magnitudes of absent weights.

    The gradient of the dense weight is formed only on the steps that rewire, from the inputs and
    output gradients of the layer (summed over the batches of an accumulated gradient and over the
    ranks), and in blocks of rows: at most `max_size` entries of it exist at a time.

    The paper skips the optimizer's step where it rewires; here both happen, so that a training
    loop needs no branch.

    Source: Evci et al. 2020, Rigging the Lottery (arXiv 1911.11134), algorithm 1.
    """

    keeps_structure = True

    def grow(self, site: Site, count: int) -> Tensor:
        """Return the keys of the `count` largest gradient magnitudes."""
        return site.largest(lambda rows: site.gradient(rows).abs_(), count)


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

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.reads_gradient = vars(cls).get("reads_gradient", True)  # a rule made of this one may

    def grow(self, site: Site, count: int) -> Tensor | Connectivity:
        """Return `count` absent connections, drawn from `site.generator`."""
        return site.scattered(count)
