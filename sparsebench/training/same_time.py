"""Question 2: in the same time, which is more accurate: dense, masked or sparse?

The nets and learning rates of the published rows, whose records this shares. Masked and sparse
are the same training (see same_training.py), so their accuracies differ by rounding alone, and
their times by all that the masked net multiplies by zero.
"""

from __future__ import annotations

from dataclasses import replace

from sparsebench.training.mnist import ROWS
from sparsebench.training.setting import Setting

MASKED = replace(ROWS["sparse"], row="masked", model="masked")


def rows() -> list[Setting]:
    """Return the dense, the masked and the sparse net."""
    return [ROWS["dense"], MASKED, ROWS["sparse"]]
