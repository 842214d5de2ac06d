"""What k-winners have to answer: the largest units of each sample, as they are, and no others.

Which units are the largest depends on rounding where two are next to each other at the threshold:
either may win. So the answer is compared with the units that win for certain, do not for certain,
and, in between, with those that it let through itself; they have to be as many as asked for.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sparsebench.cases.problem import Problem
from sparsebench.measuring import oracle

_ROUNDING = 16  # times the type's own: what boosting may be off by, relative to the threshold


def errors(
    given: Problem,
    y: Tensor,
    dx: Tensor | None,
    boost: Tensor | None,
    activates: Literal["k_winners", "relu"] = "k_winners",
) -> dict[str, float]:
    """Return the relative errors of output `y` and gradient `dx` of `given`, by name.

    `boost` (units or channels,) is what these are multiplied by to compete. "winners" is how many
    too few or too many of a sample win, relative to how many there should be.
    """
    x = given.x.detach()
    wins = x > 0 if activates == "relu" else _winners(given, y, boost)
    found = {"output": oracle.relative_error(y, torch.where(wins, x, 0).double())}
    if dx is not None:
        found["input"] = oracle.relative_error(dx, torch.where(wins, given.dy, 0).double())
    if activates != "relu":
        off = wins.flatten(1).sum(1) - given.winners
        found["winners"] = float(off.abs().max()) / given.winners
    return found


def _winners(given: Problem, y: Tensor, boost: Tensor | None) -> Tensor:
    """Return booleans of the shape of x, True for what wins."""
    x = given.x.detach()
    rivals = x.double()
    if boost is not None:
        rivals = rivals * boost.to(rivals).view(-1, *(1 for _ in x.shape[2:]))
    rivals = rivals.flatten(1)
    bar = rivals.kthvalue(rivals.shape[1] - given.winners + 1, keepdim=True).values
    slack = _ROUNDING * torch.finfo(x.dtype).eps * bar.abs()
    let_through = (y != 0).flatten(1) if y.shape == x.shape else torch.zeros_like(rivals).bool()
    wins = (rivals > bar + slack) | ((rivals >= bar - slack) & let_through)
    return wins.view(x.shape)
