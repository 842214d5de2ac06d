"""The tables of what is asked beside the question whether sparse pays in place of dense."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparsebench.analysis.point import Point
from sparsebench.views.tables.construction import construction
from sparsebench.views.tables.dynamic import dynamic
from sparsebench.views.tables.k_winners import k_winners
from sparsebench.views.tables.table import Table
from sparsebench.views.tables.zeros import zeros

OTHER_QUESTIONS: tuple[Callable[[Sequence[Point]], Table], ...] = (
    construction,
    dynamic,
    k_winners,
    zeros,
)
