"""The table at the end of a run: does sparse pay here?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import geometric_mean

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sparsebench.analysis.baselines import is_dense
from sparsebench.analysis.crossover import crossover
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.league import league
from sparsebench.analysis.matrices import SHARED, drawn, from_files
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import main_phases
from sparsebench.analysis.panels import curves
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.analysis.points import points
from sparsebench.analysis.questions import pays
from sparsebench.analysis.stale import stale
from sparsebench.records import Record
from sparsebench.views import units
from sparsebench.views.tables.answers import answers
from sparsebench.views.tables.matrices import networks, sparsities
from sparsebench.views.tables.other_questions import OTHER_QUESTIONS
from sparsebench.views.tables.printed import printed
from sparsebench.views.tables.standings import wins

_LAYERS = 200  # of a phase: more are a table to search, not to read
_UNDECIDED = "?"
_SIGNS = {
    _UNDECIDED: f"{_UNDECIDED}: the 95% interval holds 1×",
    units.UNKNOWN: units.UNKNOWN_MEANS,
}


def terminal(records: Iterable[Record]) -> RenderableType:
    """Return a renderable that answers, per phase, batch, width and sparsity, whether sparse pays.

    It fits 100 columns. Of the sparse implementations it shows `ours` and, for each layer, the
    best of the others; the league has them all. Of hundreds of layers it shows some, as figures do.
    What matters most comes last, where the eye is after a run.
    """
    return terminal_of(points(records))


def terminal_of(every: Sequence[Point]) -> RenderableType:
    """Return the same of the points of records."""
    if not every:
        return Text("No records yet.", style="yellow")
    blocks: list[RenderableType] = []
    blocks += _matrices(every)
    for part in split(pays(drawn(every))):
        every_phase = group(part.points, "phase")
        phases = {phase: every_phase[phase,] for phase in main_phases(part.points)}
        for phase, members in phases.items():
            blocks.append(_heading(f"Speed-up over dense, {_words(phase)}", part.title))
            shown, note = _some(members)
            blocks += [_speedups(shown), *_signs(shown), *note]
        blocks.append(_heading("All implementations", part.title))
        blocks.append(_league(part.points))
        blocks += _failures(part.points)
        if any(p.case.implementation == LEAD for p in part.points):
            blocks.append(_heading("Does sparse pay here?", part.title))
            blocks.append(answers(phases))
    blocks += _beside(every)
    if any(p.ok and p.unsure for p in every):
        blocks.append(Text(units.DISTURBED_MEANS, style="yellow"))
    blocks += [Text(line, style="yellow") for line in stale(every)]
    return Group(*blocks)


def _matrices(every: Sequence[Point]) -> list[RenderableType]:
    """Return the leagues of matrices from files, by network and by sparsity."""
    blocks: list[RenderableType] = []
    for part in split(from_files(every), conditions=SHARED):
        blocks.append(_heading("Matrices from files", part.title))
        for make in (networks, sparsities):
            blocks += [Text(), printed(make(part.points))]
        blocks += _failures(part.points)
    return blocks


def _beside(every: Sequence[Point]) -> list[RenderableType]:
    """Return the tables of what is no layer at work in place of a dense one, and why any failed."""
    blocks: list[RenderableType] = []
    shared = [name for name in SHARED if name != "input_sparsity"]
    for part in split(drawn(every), conditions=shared):
        for make in OTHER_QUESTIONS:
            table = make(part.points)
            if not table.text.empty:
                blocks += [Text(), printed(table)]
        at_work = set(pays(part.points))
        blocks += _failures([p for p in part.points if p not in at_work])
    return blocks


def _some(members: Sequence[Point]) -> tuple[Sequence[Point], list[RenderableType]]:
    """Return the points of as many layers as somebody would read, and a line on the others."""
    if (count := len(group(members, "batch", "size"))) <= _LAYERS:
        return members, []
    shown = curves(members)
    words = f"{len(group(shown, 'batch', 'size'))} of {count} layers: tables/speedup.csv has all"
    return shown, [Text(words, style="dim")]


def _speedups(members: Sequence[Point]) -> Table:
    sparsities = sorted({p.case.sparsity for p in members})
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("batch", justify="right", no_wrap=True)
    images = members[0].case.operation == "conv2d"
    table.add_column("layer" if images else "width", justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis")  # the one that gives way on a narrow terminal
    for sparsity in sparsities:
        title = units.percent(sparsity)
        table.add_column(title, justify="right", no_wrap=True, min_width=5)
    table.add_column("pays from", no_wrap=True)
    previous = None
    for (batch, size), layer in group(members, "batch", "size").items():
        if previous not in (None, batch):
            table.add_section()
        labels = ("" if batch == previous else str(batch), size)
        for row, name in enumerate(_shown(layer)):
            own = {p.case.sparsity: p for p in layer if p.case.implementation == name}
            found = crossover(list(own.values()))
            table.add_row(
                *(labels if row == 0 else ("", "")),
                Text(name, style="bold" if name == LEAD else "dim"),
                *(_cell(own.get(s), faded=name != LEAD) for s in sparsities),
                Text("" if found is None else units.crossing(found, ends=name == LEAD)),
            )
        previous = batch
    return table


def _shown(layer: Sequence[Point]) -> list[str]:
    """Return `ours`, if it is there, and the best of the other sparse implementations.

    Of the dense ones where there is no other.
    """
    means = {}
    for (name,), members in group(layer, "implementation").items():
        found = [e.value for p in members if (e := METRICS["speedup"].of(p)) is not None]
        if name != BASELINE:
            means[name] = geometric_mean(found) if found else 0.0
    others = sorted((name for name in means if name != LEAD), key=lambda n: -means[n])
    others = [name for name in others if not is_dense(name)] or others
    return [name for name in (LEAD,) if name in means] + others[:1]


def _signs(members: Sequence[Point]) -> list[RenderableType]:
    """Return a line that explains the signs in the table of speed-ups, if there are any."""
    cells = [_cell(p, faded=False).plain for p in members if p.case.implementation != BASELINE]
    used = [means for sign, means in _SIGNS.items() if any(sign in cell for cell in cells)]
    return [Text("; ".join(used), style="dim")] if used else []


def _cell(point: Point | None, *, faded: bool) -> Text:
    if point is None:
        return Text("")
    if not point.ok:
        return Text(point.record.status, style="magenta")
    speedup = METRICS["speedup"].of(point)
    if speedup is None:
        return Text("no dense", style="dim")
    # Only an interval on one side of 1 is a verdict.
    colour = "green" if speedup.low > 1 else "red" if speedup.high < 1 else "yellow"
    undecided = colour == "yellow" and not point.unsure
    sign = units.UNKNOWN if not speedup.known else _UNDECIDED if undecided else ""
    words = units.doubtful(units.ratio(speedup.value) + sign, point.unsure)
    colour = "yellow" if point.unsure else colour
    return Text(words, style=f"dim {colour}" if faded else f"bold {colour}")


def _league(members: Sequence[Point]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("time/best", "wins", "ties", "timed", "memory/dense"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("failures")
    for place in league(members):
        failures = ", ".join(f"{n} {status}" for status, n in sorted(place.failures.items()))
        table.add_row(
            Text(place.implementation, style="bold" if place.implementation == LEAD else ""),
            "" if place.relative_time is None else units.interval(place.relative_time),
            wins(place),
            str(place.outcomes["tie"]),
            f"{place.timed} of {place.problems}",
            "" if place.memory_ratio is None else units.ratio(place.memory_ratio),
            Text(failures, style="magenta"),
        )
    return table


def _words(phase: str) -> str:
    return phase.replace("_", " ")


def _heading(title: str, conditions: str) -> Text:
    return Text.assemble("\n", (title, "bold"), ("  " + conditions, "dim"))


def _failures(every: Sequence[Point]) -> list[RenderableType]:
    """Return one line for each reason for which cases have no time."""
    lines: list[RenderableType] = []
    kinds = Counter(
        (p.case.implementation, p.record.status, " ".join(p.record.message.split()))
        for p in every
        if not p.ok
    )
    for (name, status, why), count in sorted(kinds.items()):
        cases = "1 case" if count == 1 else f"{count} cases"
        text = Text.assemble((f"{status}: ", "magenta"), f"{cases} of {name}", (f": {why}", "dim"))
        text.truncate(200, overflow="ellipsis")
        lines.append(text)
    return lines
