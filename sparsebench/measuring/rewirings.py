"""One rewiring against the rule: the smallest weights go, and others grow where the rule says.

The gradient is computed in float64 from what went through the layer, and every place of the dense
weight is looked at: whatever an implementation keeps, samples or blocks, has to find the largest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases import phases
from sparsebench.cases.problem import Problem
from sparsebench.implementations import Implementation
from sparsebench.measuring import oracle
from sparsebench.measuring.verification import Incorrect, drop_gradients
from sparselayers.topologies.keys import contains, keys_of


def check(implementation: Implementation, module: nn.Module, given: Problem, dtype: str) -> None:
    """Rewire `module` once, without moving its weights, and compare with the rule.

    `dtype` is the type it computes in. Raises Incorrect where a connection was dropped that is
    larger than one that stayed, where too many or too few grew, or at the wrong places.
    """
    before = implementation.now(module, given)
    phases.step(module, given.x, given.dy, "rewiring", learning_rate=0.0)()
    after = implementation.now(module, given)
    drop_gradients(module, given.x)
    old, new = (keys_of(problem.connectivity) for problem in (before, after))
    if new.numel() != old.numel():
        raise Incorrect(f"a rewiring made {old.numel()} connections {new.numel()}")
    places = before.connectivity.shape[0] * before.connectivity.shape[1]
    count = min(int(phases.REWIRED * old.numel()), places - old.numel())
    if not count:
        return
    worth = before.values.abs()
    least = worth.kthvalue(count).values
    stays = contains(new, old)
    if bool((~stays & (worth > least)).any()):
        raise Incorrect("a rewiring dropped a connection that is larger than others that stayed")
    grown = new[~contains(old, new)]
    if not implementation.regrows and grown.numel() != count:
        raise Incorrect(f"a rewiring grew {grown.numel()} connections in place of {count}")
    _check_values(before, after, stays, grown, new)
    if implementation.grow == "gradient":
        free = ~contains(old, torch.arange(places, device=old.device))
        again = old[stays & (worth < least)] if implementation.regrows else old[:0]
        if implementation.regrows:
            free[old[worth < least]] = True
        _check_largest(before, torch.cat((grown, again)), free, oracle.TOLERANCE[dtype])


def _check_values(
    before: Problem, after: Problem, stays: Tensor, grown: Tensor, new: Tensor
) -> None:
    is_new = contains(grown, new)
    if bool(after.values[is_new].any()):
        raise Incorrect("a rewiring grew connections whose weights are not 0")
    if not torch.equal(after.values[~is_new], before.values[stays]):
        raise Incorrect("a rewiring changed the weights of connections that stayed")


def _check_largest(given: Problem, grown: Tensor, free: Tensor, tolerance: float) -> None:
    """Raise Incorrect unless `grown` have the largest gradients of all places that are `free`."""
    gradient = (given.dy.double().t() @ given.x.detach().double()).abs_().flatten()
    allowed = tolerance * gradient.max()
    lowest = gradient[grown].min()
    free[grown] = False
    gradient[~free] = 0
    if (missed := gradient.max() - lowest) > allowed:
        raise Incorrect(
            f"a rewiring grew a connection whose gradient is smaller than one that did not grow, "
            f"by {float(missed / allowed * tolerance):.2g} of the largest; allowed {tolerance:g}"
        )
