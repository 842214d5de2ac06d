"""What other distributions bring: names found through their entry points, imported when used.

A distribution names what it has in its metadata, in the groups `IMPLEMENTATIONS` and `TOPOLOGIES`.
Finding that reads metadata alone: what fails when it is imported is known by its name all the same,
and says why it cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

IMPLEMENTATIONS = "sparsebench.implementations"
TOPOLOGIES = "sparsebench.topologies"
HERE = "sparsebench"  # who owns the names that the suite has itself

# What can stand in a case's key, in a filter and in the name of a file.
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")

T = TypeVar("T")


class Unusable(Exception):  # noqa: N818 — an answer about another's code, and no error of ours
    """What an entry point names cannot be used; the message says whose it is, and why."""


@dataclass(frozen=True)
class Extension:
    """A name that another distribution brings; `owner` is that distribution, with its release.

    `refused` says why the name means something else, or nothing; "" where it means this.
    """

    name: str
    owner: str
    entry: metadata.EntryPoint
    refused: str = ""

    def load(self) -> Any:
        """Import what it names. Raises Unusable, naming the distribution, where that fails."""
        try:
            return self.entry.load()
        except Exception as error:  # anything may go wrong in another's code
            first = (str(error).strip().splitlines() or [""])[0]
            raise Unusable(
                f"{self.owner} brings it, and cannot be imported: {type(error).__name__}: {first}"
            ) from error


@cache
def found(group: str) -> tuple[Extension, ...]:
    """Return every entry point of `group`, in the order of their names and distributions."""
    brought = {}
    for entry in metadata.entry_points(group=group):
        owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        # A distribution that is on the path twice is one.
        brought[entry.name, owner] = Extension(entry.name, owner, entry)
    return tuple(brought[key] for key in sorted(brought))


def sorted_out(group: str, own: Mapping[str, object] | tuple[str, ...]) -> list[Extension]:
    """Return what `group` has, each refused whose name is one of `own`, or another's too."""
    every = found(group)
    return [
        Extension(e.name, e.owner, e.entry, _refused(e, own, [o for o in every if o is not e]))
        for e in every
    ]


def usable(group: str, own: Mapping[str, object] | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that other distributions add to `own`, without importing anything."""
    return tuple(e.name for e in sorted_out(group, own) if not e.refused)


class Registry(MutableMapping[str, T]):
    """What the suite has by name, then what other distributions bring: made when it is looked at.

    `make` returns the thing of an extension; what to do with one that cannot be used is its
    business. `refused` are those whose names are taken.
    """

    def __init__(self, group: str, own: Mapping[str, T], make: Callable[[Extension], T]) -> None:
        self._made: dict[str, T] = dict(own)
        every = sorted_out(group, own)
        self._brought = {e.name: e for e in every if not e.refused}
        self._make = make
        self.refused = [extension for extension in every if extension.refused]

    def owner(self, name: str) -> str:
        """Return who brings `name`."""
        return self._brought[name].owner if name in self._brought else HERE

    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            self._made[name] = self._make(self._brought[name])
        return self._made[name]

    def __setitem__(self, name: str, value: T) -> None:
        self._made[name] = value

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._brought

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._made, *self._brought)))

    def __len__(self) -> int:
        return len(self._made.keys() | self._brought.keys())


def _refused(
    extension: Extension, own: Mapping[str, object] | tuple[str, ...], others: list[Extension]
) -> str:
    name, owner = extension.name, extension.owner
    if not _NAME.fullmatch(name):
        return f"{owner} calls something {name!r}: a name is letters, digits, and any of _ . + -"
    if name in own:
        return f"{owner} brings {name!r} too, a name that {HERE} has: it is left out"
    if rivals := [other.owner for other in others if other.name == name]:
        return f"{owner} and {', '.join(rivals)} all bring {name!r}: none of them is used"
    return ""
