"""This project's layers under SET: connections grow anywhere."""

from __future__ import annotations

import sparselayers as sl
from sparsebench.implementations.rigl import Dynamic, RigL


class Anywhere(Dynamic):
    """Rewired by SET."""

    rule = sl.SET


class SET(RigL):
    """`sparselayers.SparseLinear` with `sparselayers.SET`, which rewires it."""

    name = "set"
    linear = Anywhere
    grow = "anywhere"
