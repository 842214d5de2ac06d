"""Which points may be shown together, and what such a group is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sparsebench.analysis.point import Point
from sparsebench.cases.case import USUAL

# What has to agree before two points may share a table row or a curve.
CONDITIONS = ("machine", "device", "dtype", "threads", "operation", "topology", "seed", *USUAL)


class Group(NamedTuple):
    """Points that agree in some fields: those fields in words, and a name for a file."""

    name: str
    title: str
    points: list[Point]


def group(points: Iterable[Point], *names: str) -> dict[tuple[Any, ...], list[Point]]:
    """Return the points by the values of the fields `names`, in the order they come."""
    groups: dict[tuple[Any, ...], list[Point]] = defaultdict(list)
    values = itemgetter(*names) if len(names) > 1 else lambda fields: (fields[names[0]],)
    for point in points:
        groups[values(point.fields)].append(point)
    return dict(groups)


def split(
    points: Sequence[Point], *names: str, conditions: Sequence[str] = CONDITIONS
) -> Iterator[Group]:
    """Yield the points that may be shown together: those that agree in `conditions` and `names`.

    The name of a group holds the values of `names`, and of a condition only where it varies.
    """
    groups = group(points, *conditions, *names)
    varying = [c for n, c in enumerate(conditions) if len({key[n] for key in groups}) > 1]
    for key, members in groups.items():
        values = dict(zip((*conditions, *names), key, strict=True))
        slug = "-".join(_slug(name, values[name]) for name in (*names, *varying))
        yield Group(slug, _phrase(values), members)


def _phrase(values: Mapping[str, Any]) -> str:
    parts = [values["machine"], values["device"], values["dtype"]]
    if values["device"] == "cpu" and "threads" in values:
        parts.append("1 thread" if values["threads"] == 1 else f"{values['threads']} threads")
    if values["operation"] != "linear":
        parts.append(values["operation"])
    if values.get("topology", "random") != "random":
        parts.append(f"{values['topology']} connections")
    if values.get("gradients") == "kept":
        parts.append("gradients kept")
    if values.get("cache") == "cold":
        parts.append("weights from memory")
    return ", ".join(parts)


def _slug(name: str, value: Any) -> str:
    text = f"{value}{name}" if name in ("threads", "seed", "cache") else str(value)
    text = f"gradients_{text}" if name == "gradients" else text
    return "".join(c if c.isalnum() or c in "_." else "_" for c in text)
