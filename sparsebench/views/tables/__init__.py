"""Tables of records: for files (Markdown, CSV, LaTeX) and for the terminal.

A table for files is a function from points to a Table: add one to TABLES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps

from sparsebench.analysis.layers import work_out
from sparsebench.analysis.matrices import drawn
from sparsebench.analysis.metrics import best_dense, best_short_dense
from sparsebench.analysis.once import once
from sparsebench.analysis.point import Point
from sparsebench.analysis.questions import pays
from sparsebench.views.tables.baselines import baselines, dense_layers
from sparsebench.views.tables.by_machine import by_machine
from sparsebench.views.tables.cases import failures, measurements
from sparsebench.views.tables.cliffs import cliffs
from sparsebench.views.tables.deploy import deploy
from sparsebench.views.tables.gpu import end_to_end, gpu, graphs, tensor_cores
from sparsebench.views.tables.lead import ahead, lead
from sparsebench.views.tables.matrices import networks, sparsities
from sparsebench.views.tables.memory import memory
from sparsebench.views.tables.other_questions import OTHER_QUESTIONS
from sparsebench.views.tables.printed import printed
from sparsebench.views.tables.speed import crossovers, speedups, summary
from sparsebench.views.tables.standings import standings
from sparsebench.views.tables.structures import structures
from sparsebench.views.tables.table import Table
from sparsebench.views.tables.terminal import terminal, terminal_of
from sparsebench.views.tables.times import times
from sparsebench.views.tables.topologies import topologies
from sparsebench.views.tables.writers import write

__all__ = ["TABLES", "Table", "printed", "tables", "terminal", "terminal_of", "times", "write"]

Make = Callable[[Sequence[Point]], Table]

# Of layers that are drawn, which can be lined up by their sparsity.
_DRAWN: tuple[Make, ...] = (
    summary,
    speedups,
    structures,
    baselines,
    dense_layers,
    deploy,
    crossovers,
    end_to_end,
    gpu,
    graphs,
    tensor_cores,
    lead,
    standings,
    cliffs,
)

# Of drawn ones too, but beside the question whether they pay in place of dense ones.
_BESIDE: tuple[Make, ...] = (memory, topologies, *OTHER_QUESTIONS)


_drawn = once(drawn)


@once
def _layers(points: Sequence[Point]) -> list[Point]:
    return pays(_drawn(points))


def _of_layers(make: Make) -> Make:
    return wraps(make)(lambda points: make(_layers(points)))


def _of_drawn(make: Make) -> Make:
    return wraps(make)(lambda points: make(_drawn(points)))


TABLES: tuple[Make, ...] = (
    *map(_of_layers, _DRAWN),
    *map(_of_drawn, _BESIDE),
    networks,
    sparsities,
    by_machine,
    failures,
    measurements,
)


def tables(
    points: Sequence[Point], *, told: Callable[[str], None] = lambda what: None
) -> Iterator[Table]:
    """Yield every table for which `points` have something to say; `told` which is made next."""
    told("crossovers and leagues")
    work_out(_layers(points), ahead, best_dense, best_short_dense)
    for make in TABLES:
        told(f"table {make.__name__}")
        table = make(points)
        if table.rows:
            yield table
