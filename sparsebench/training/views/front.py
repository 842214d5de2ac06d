"""The Pareto front: what nothing else beats in cost and in accuracy at once."""

from __future__ import annotations

import math
from collections.abc import Iterable


def front(places: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those of (cost, accuracy) that are better than all that cost as much or less."""
    best, found = -math.inf, []
    for cost, accuracy in sorted(places, key=lambda place: (place[0], -place[1])):
        if accuracy > best:
            found.append((cost, accuracy))
            best = accuracy
    return found
