"""Which points may be shown together, and what such a group is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Return the points by the values of the fields `names`, in the order they come.

    Rivals differ in their implementation alone: the other fields are looked at once for all.
    """
    shared = [name for name in names if name != "implementation"]
    apart = len(shared) < len(names)
    known: dict[int, int] = {}  # of rivals: which of the values of the shared fields theirs are
    numbers: dict[tuple[Any, ...], int] = {}
    groups: dict[tuple[int, str], list[Point]] = {}
    for point in points:
        rivals = point.rivals
        if (number := known.get(id(rivals))) is None:
            values = tuple([rivals.fields[name] for name in shared])
            number = known[id(rivals)] = numbers.setdefault(values, len(numbers))
        key = number, point.case.implementation if apart else ""
        if (members := groups.get(key)) is None:
            members = groups[key] = []
        members.append(point)
    return {_key(members[0], names): members for members in groups.values()}


def _key(point: Point, names: Sequence[str]) -> tuple[Any, ...]:
    fields = point.fields
    return tuple([fields[name] for name in names])


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
