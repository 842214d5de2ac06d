"""What has to agree among all that measure for one table, and the refusal where it does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

import sparsebench
import sparselayers
from sparsebench.measuring import machine
from sparsebench.measuring.software import digest


@cache
def here() -> dict[str, str]:
    """Return the versions of this process: of sparsebench, of torch and of the kernels.

    Sources and kernels are told apart by a digest, so that two checkouts of one version differ
    where they do, and an installed package and a checkout of the same sources do not.
    """
    folders = [Path(str(module.__file__)).parent for module in (sparsebench, sparselayers)]
    sources = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return {
        "sparsebench": f"{metadata.version('sparsebench')} {digest(sources)}",
        "torch": torch.__version__,
        "kernels": _kernels(),
    }


def _kernels() -> str:
    backend = machine.layers_backend()["backend"]
    spec = find_spec("sparselayers._native")
    if backend != "native" or spec is None or spec.origin is None:
        return backend
    return f"{backend} {digest([Path(spec.origin)])}"


def disagreement(found: Mapping[str, Mapping[str, str]]) -> str:
    """Return a table of who has what, of the rows in which not all agree; nothing if all do.

    `found` are versions by who has them. Who does not name a program has no say in it.
    """
    lines = []
    for program in dict.fromkeys(name for versions in found.values() for name in versions):
        who = defaultdict(list)
        for name, versions in found.items():
            if program in versions:
                who[versions[program]].append(name)
        if len(who) > 1:
            lines += [f"  {program:12} {version:30} {', '.join(n)}" for version, n in who.items()]
    return "\n".join(lines)
