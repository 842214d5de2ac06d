"""Instructions that the native kernels execute, base against head: counts, which have no scatter.

Valgrind's callgrind counts them, one thread on the loops for AVX2, in a process of each side: see
`counted`. It shows programs a processor of its own, so that counts do not depend on whose this is,
or on what else it does.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sparsebench.errors import InputError
from sparsebench.regression import builds, counted
from sparsebench.regression.builds import Build, BuildError
from sparsebench.regression.counted.workloads import ISA, WORKLOADS
from sparsebench.regression.results import CountFinding, CountVerdict

TOLERANCE = 0.02
_PACKAGE = Path("sparsebench", "regression", "counted")
_OWN = Path(__file__).parents[2]  # where this revision's packages are
# Whatever else is in the environment moves the stack, and with it, by a few, the counts.
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "VALGRIND_LIB")
_TRIGGER, _ASKED = "desc: Trigger: ", "Client Request: "
_PLACES = tuple("0123456789+-*")  # a line of costs begins with that of the source


@dataclass(frozen=True)
class Side:
    """The compiled kernels of a revision, and the folder of the packages that call them."""

    kernels: Path
    packages: Path

    @classmethod
    def of(cls, build: Build) -> Side:
        """Return a side that was built; this revision's package calls kernels older than it."""
        packages = builds.packages(build)
        return cls(builds.kernels(build), packages if (packages / _PACKAGE).is_dir() else _OWN)


@dataclass(frozen=True)
class Counts:
    """Of the workloads by name: size and instructions of each, or why it has none."""

    counted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def valgrind() -> str:
    """Return the path of valgrind. Raises InputError where it is missing, or has nothing to do."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise InputError(
            f"--instructions counts on the loops for {ISA}, which a CPU of type "
            f"{platform.machine()} does not run: x86-64 does"
        )
    if (found := shutil.which("valgrind")) is None:
        raise InputError(
            "--instructions needs valgrind, which counts them, and finds none: install it "
            "(apt-get install valgrind, or dnf install valgrind)"
        )
    return found


def release(tool: str) -> str:
    """Return the release of valgrind: counts of another may differ."""
    return subprocess.run(
        [tool, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def names(side: Side) -> list[str]:
    """Return the workloads that a side has. Raises BuildError where it does not run."""
    done = subprocess.run(
        [sys.executable, *_ARGUMENTS],
        capture_output=True,
        text=True,
        env=_environment(side),
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"{side.packages / _PACKAGE} does not run:\n{_end(done.stderr)}")
    return done.stdout.split()


def count(
    tool: str, sides: Mapping[str, Side], chosen: Mapping[str, Sequence[str]], folder: Path
) -> dict[str, Counts]:
    """Count the instructions of the `chosen` workloads on all sides, which run side by side.

    Files go to `folder`. Raises BuildError where kernels cannot be loaded, or a workload crashes.
    """
    files = {side: folder / f"{side}.callgrind" for side in sides}
    with ExitStack() as stack:
        running = {}
        for side, own in sides.items():
            command = [
                tool, "--tool=callgrind", "--command-line-only=yes", "--quiet", "--vgdb=no",
                "--combine-dumps=yes", f"--callgrind-out-file={files[side]}",
                "--instr-atstart=no",
                sys.executable, *_ARGUMENTS, str(own.kernels.resolve()), *chosen[side],
            ]  # fmt: skip
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                cwd=folder, env=_environment(own),
            )  # fmt: skip
            running[side] = stack.enter_context(process)
            stack.callback(process.kill)  # of those that still run
        return {
            side: _counts(side, files[side], sides[side].kernels.resolve(), process)
            for side, process in running.items()
        }


def judged(base: Counts, head: Counts, tolerance: float = TOLERANCE) -> list[CountFinding]:
    """Return a finding for each workload that a side has: which executes more, or cannot be told.

    More is more by above `tolerance`; so it is with fewer. Those of different size are not
    compared, nor are those that one side alone has.
    """
    found = []
    for name in dict.fromkeys([*head.counted, *head.failed, *base.counted, *base.failed]):
        before, after = base.counted.get(name), head.counted.get(name)
        ratio = None
        if before and after and before[0] == after[0]:
            ratio = after[1] / before[1]
        found.append(
            CountFinding(
                workload=name,
                base=before and before[1],
                head=after and after[1],
                ratio=ratio,
                verdict=_verdict(name, base, head, ratio, tolerance),
                message=head.failed.get(name) or base.failed.get(name, ""),
            )
        )
    return found


def totals(lines: Iterable[str], kernels: Path) -> dict[str, int]:
    """Return what the module of `kernels` executed itself, by the names that the program gave.

    `lines` are a file of callgrind's ("Callgrind Format Specification" in valgrind's manual). What
    is left out: Python, and the allocator of the C library, whose work depends on what was before.
    """
    found: dict[str, int] = {}
    objects: dict[str, str] = {}  # by their numbers: each is spelled out once
    name, inside, inclusive = "", False, False
    for line in lines:
        key, equals, value = line.rstrip("\n").partition("=")
        if key.startswith(_TRIGGER):
            _, _, name = key.partition(_ASKED)
            found |= {name: 0} if name else {}
        elif key in ("ob", "cob"):
            number, _, path = value.partition(" ")
            objects.setdefault(number, path)
            if key == "ob":
                inside = objects[number] == str(kernels)
        elif key == "calls":
            inclusive = True  # the next line is what was called, which has lines of its own
        elif not equals and key[:1] in _PLACES:
            if name and inside and not inclusive:
                found[name] += int(key.split()[1])
            inclusive = False
    return found


# Nothing that is installed is imported, nor what lies in the folder that it runs in.
_ARGUMENTS = ("-S", "-P", "-B", "-m", counted.__name__)


def _environment(side: Side) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Dictionaries of Python are searched alike each time.
    return kept | {"PYTHONPATH": str(side.packages), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def _counts(side: str, file: Path, kernels: Path, process: subprocess.Popen[str]) -> Counts:
    output, messages = process.communicate()
    if process.returncode != 0:
        begun = [line for line in messages.splitlines() if line in WORKLOADS]
        other = "\n".join(line for line in messages.splitlines() if line not in begun)
        last = f" {begun[-1]}" if begun else ""
        raise BuildError(f"the {side} is built, and does not run{last}:\n{_end(other)}")
    lines = [line.split("\t") for line in output.splitlines()]
    failed = {line[0]: line[2] for line in lines if line[1] == "failed"}
    sizes = {line[0]: int(line[1]) for line in lines if line[0] not in failed}
    with file.open(encoding="utf-8", errors="replace") as written:
        counts = totals(written, kernels)
    if missing := [name for name in sizes if not counts.get(name)]:
        raise BuildError(f"callgrind wrote no counts of the {side} for {', '.join(missing)}")
    return Counts({name: (size, counts[name]) for name, size in sizes.items()}, failed)


def _verdict(
    name: str, base: Counts, head: Counts, ratio: float | None, tolerance: float
) -> CountVerdict:
    if ratio is not None:
        if ratio > 1 + tolerance:
            return "more"
        return "fewer" if ratio < 1 / (1 + tolerance) else "same"
    if name in head.counted:
        return "another size" if name in base.counted else "not in base"
    if name in base.counted:
        return "broken" if name in head.failed else "not in head"
    return "no count"


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-15:])
