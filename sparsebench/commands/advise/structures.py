"""What `sparsebench advise --structure` prints."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench import output
from sparsebench.advisor import AccuracyCost, StructureAdvice, Structured
from sparsebench.cases.topologies.structured import UNSTRUCTURED
from sparsebench.output import console
from sparsebench.views import units


def show(advice: StructureAdvice) -> None:
    """Print what to use, a table of all, what was left out and why, and where it comes from."""
    for sentence in sentences(advice):
        console.print(sentence, style="bold", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "sparsity", "over unstructured", "over dense", "memory over dense"):
        table.add_column(name)
    table.add_column("points of accuracy")
    table.add_column("front")
    for one in advice.candidates:
        table.add_row(
            Text(one.structure, style="bold" if one is advice.best else ""),
            units.percent(one.sparsity),
            units.interval(one.over_unstructured),
            units.interval(one.speedup),
            "" if one.memory is None else units.ratio(one.memory),
            "; ".join(f"{-cost.points:+.2f} {_where(cost)}" for cost in one.accuracy),
            "yes" if one.on_front else "",
        )
    output.show(table)
    for name, why in advice.left_out.items():
        console.print(f"Left out: {name}: {why}.", style="dim", highlight=False, soft_wrap=True)
    console.print(f"Source: {advice.source}.", style="dim", highlight=False)


def sentences(advice: StructureAdvice) -> list[str]:
    """Return what can be said of those on the front; where it is not known, of the first."""
    front = [each for each in advice.candidates if each.on_front] or [advice.best]
    told = [_sentence(each) for each in front if each.structure != UNSTRUCTURED]
    return told or ["Use unstructured connections: no structure is better here."]


def _sentence(one: Structured) -> str:
    gain = units.interval(one.over_unstructured)
    said = f"{one.structure} is {gain} as fast as unstructured here"
    if not one.accuracy:
        return f"{said}; no records say what it costs in accuracy."
    costs = [
        f"{'costs' if cost.points >= 0 else 'gains'} {abs(cost.points):.2g} points {_where(cost)}"
        for cost in one.accuracy
    ]
    return f"{said} and {', '.join(costs)}."


def _where(cost: AccuracyCost) -> str:
    how = "static" if cost.rewiring == "none" else f"rewired by {cost.rewiring}"
    seeds = f"{cost.seeds} seed{'s' * (cost.seeds != 1)}"
    return f"on {cost.dataset} ({units.percent(cost.sparsity)}, {how}, {seeds})"
