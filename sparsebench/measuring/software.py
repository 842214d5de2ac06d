"""The software that a time taken now belongs to."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterable
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from sparsebench import extensions
from sparsebench.cases.case import Case
from sparsebench.cases.topologies import TOPOLOGIES
from sparsebench.implementations import IMPLEMENTATIONS, Implementation
from sparsebench.records import software

# How times are taken: raised when a change of it changes what a time means.
# 1: as it was before records said. 2: samples know how they were disturbed; verified afterwards.
METHOD = "2"
# The same of a competitor in cold caches. 2: layers of a turn share no connections.
COLD = "2"

# What tells the runtimes of OpenMP and MKL how their threads wait and where they run.
_THREADS = (
    "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC", "OMP_SCHEDULE",
    "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_LIBRARY",
    "MKL_DYNAMIC", "MKL_NUM_THREADS", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR",
)  # fmt: skip


def shared(machine: dict[str, Any]) -> dict[str, str]:
    """Return what the sides of a ratio have in common, of the fingerprint `machine`."""
    told = software.of(machine)
    preloaded = " ".join(Path(path).name for path in os.environ.get("LD_PRELOAD", "").split())
    set_here = (f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ)
    return told | {
        "allocator": told.get("allocator", "") + f", {preloaded} preloaded" * bool(preloaded),
        "threads": " ".join(set_here) or "default",
        "method": METHOD,
    }


def of(case: Case, machine: dict[str, Any]) -> dict[str, str]:
    """Return the software that a time of `case` belongs to, here and now."""
    told = dict(machine["software"])
    implementation = IMPLEMENTATIONS[case.implementation]
    parts = [_own(case.implementation)]
    if implementation.stands_on:
        parts.append(" ".join(machine["layers"].get(name, "") for name in ("backend", "isa")))
    if case.cache == "cold":
        parts.append(f"cold {COLD}")
    if (owner := TOPOLOGIES.owner(case.topology)) != extensions.HERE:
        parts.append(f"connections of {owner}")
    return told | {software.OWN: ", ".join(part.strip() for part in parts)}


@cache
def _own(name: str) -> str:
    """Return the releases of a competitor's libraries, and a digest of its sources in the project.

    Of another distribution's also that one's release, and all of its own package. Of that, as of
    the library of layers where it stands on that, the compiled kernels count too.
    """
    implementation, owner = IMPLEMENTATIONS[name], IMPLEMENTATIONS.owner(name)
    room = IMPLEMENTATIONS["dense"].__module__.rpartition(".")[0]
    classes = [c for c in type(implementation).__mro__ if c.__module__.startswith(room)]
    files = [Path(inspect.getfile(c)) for c in classes if c is not Implementation]
    home = type(implementation).__module__
    own = () if home.startswith(room) else (home.partition(".")[0],)
    for package in (*implementation.stands_on, *own):
        files += _sources(package)
    packages = dict.fromkeys(module.partition(".")[0] for module in implementation.modules)
    brought = [] if owner == extensions.HERE else [owner]
    return ", ".join([*brought, *map(_release, packages), digest(files)])


def _sources(package: str) -> list[Path]:
    """Return what a package consists of, compiled modules too; of a single module its file."""
    module = import_module(package)
    if getattr(module, "__file__", None) is None:  # nobody's own: others install into it as well
        return []
    file = Path(str(module.__file__))
    if not hasattr(module, "__path__"):
        return [file]
    # An editable installation has what is compiled in another folder than the sources.
    found = {f.relative_to(root): f for root in module.__path__ for f in Path(root).rglob("*")}
    return [f for name, f in sorted(found.items()) if name.suffix in (".py", ".so")]


def _release(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} of unknown release"


def digest(files: Iterable[Path]) -> str:
    """Return eight digits that change with a name or the content of `files`."""
    found = hashlib.sha256()
    for file in files:
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()[:8]
