"""What changes connections, row by row in compiled loops (csrc/rewiring).

All of it takes memory for a block of rows beside what it returns, and returns the same however many
threads there are. It serves connections on CPUs where the kernels were built (see `serves`);
whoever calls it knows another way for all others.
"""

from sparselayers.by_rows.drawing import Candidates, scattered
from sparselayers.by_rows.kernels import serves
from sparselayers.by_rows.merging import carry, merged, moves, none, places
from sparselayers.by_rows.selection import above, drop_smallest

__all__ = [
    "Candidates",
    "above",
    "carry",
    "drop_smallest",
    "merged",
    "moves",
    "none",
    "places",
    "scattered",
    "serves",
]
