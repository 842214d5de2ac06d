"""RigL: grow where the loss falls fastest."""

from __future__ import annotations

from torch import Tensor

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
