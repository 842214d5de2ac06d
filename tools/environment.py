"""Make the environment that every target of the Makefile runs in, and say so in a few lines.

    python3 tools/environment.py install .venv bench    # as `make bench` calls it
    .venv/bin/python tools/environment.py extra .venv notebooks
    .venv/bin/python tools/environment.py peers .venv

Each step is a sentence with the time it took. What pip and compilers print goes to a file below
build/, which is named, with its last lines, when a step fails. A second one in the same checkout
waits until the first is done. Standard library alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from lock import alone
from steps import ROOT, StepError, Steps

COMPILERS = ("c++", "g++", "clang++")
GET_COMPILER = "Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: \
xcode-select --install, and brew install libomp"

# Compiled with what the environment has, whose paths stay. One made for each build, as pip would,
# lies elsewhere each time, and so has every file compiled again.
IN_PLACE = ("--verbose", "--no-deps", "--no-build-isolation", "--editable")

PLAN = (
    ("make an environment in {venv}", "some seconds"),
    ("load PyTorch and other libraries, 5 GB", "minutes, by the network"),
    ("compile the kernels", "2 to 4 minutes on two cores"),
)
AFTERWARDS = {
    "bench": ("measure the default sweep", "about 10 minutes on two cores"),
    "test": ("run the tests", "some 5 minutes on two cores"),
}


def install(venv: Path, goals: Sequence[str]) -> None:
    """Make `venv`, and install what pyproject.toml names and the project itself into it."""
    _announce(venv, goals)
    steps, python = Steps(ROOT / "build" / "install.log"), venv / "bin" / "python"
    if not _has_pip(python):
        _make(venv, steps)
    needed, pip = [*_named(), *_named("dev")], _pip(python)
    steps.run(f"Installing the {len(needed)} libraries that the project needs", [*pip, *needed])
    what = "Compiling the kernels" if _compiler() else "Installing the project"
    steps.run(what, [*pip, *IN_PLACE, "."])
    if not list(venv.glob("lib/python*/site-packages/sparselayers/_native*")):
        print(_without_kernels(steps))


def extra(venv: Path, name: str) -> None:
    """Install what the extra `name` of pyproject.toml needs, where it is not there."""
    named = _named(name)
    missing = [each for each in named if not _is_there(re.match(r"[\w.-]+", each)[0])]
    if missing:
        steps = Steps(ROOT / "build" / "install.log")
        steps.run(f"Installing {', '.join(missing)}", [*_pip(venv / "bin" / "python"), *named])


def peers(venv: Path) -> None:
    """Install every library to compare with; some exist as source alone, and take half an hour."""
    steps, python = Steps(ROOT / "build" / "peers.log"), venv / "bin" / "python"
    named, pip = _named("peers"), _pip(python)
    # The last three have to see this environment when they are compiled, and sparseprop's set-up
    # calls `pip` and `python3` by name. A cached wheel may be made for another torch, or CPU.
    path = os.pathsep.join((str(python.parent.absolute()), os.environ.get("PATH", "")))
    compile_ = [*pip, "--no-build-isolation", "--no-cache-dir", "--verbose"]
    tools = ["ninja", "pybind11", "setuptools", "wheel"]
    steps.run(f"Installing {len(named)} libraries to compare with", [*pip, *named])
    steps.run("Installing what the others are compiled with", [*pip, *tools])
    steps.run("Compiling sparseprop", [*compile_, "sparseprop==0.1.14"], path)
    sentence = "Compiling torch-scatter and torch-sparse (half an hour on two cores)"
    steps.run(sentence, [*compile_, "torch-scatter==2.1.2", "torch-sparse==0.6.18"], path)


def _announce(venv: Path, goals: Sequence[str]) -> None:
    """Say what will be done, and how long it takes, before a first time."""
    if venv.exists():
        print(f"Bringing {venv} up to date.", flush=True)
        return
    plan = [*PLAN, *(AFTERWARDS[goal] for goal in goals if goal in AFTERWARDS)]
    print("A first time, this will")
    for number, (what, how_long) in enumerate(plan, 1):
        print(f"  {number}. {what.format(venv=venv):<42}{how_long}")
    print("Interrupt it whenever you like: the same command goes on from there.")
    if not _compiler():
        print(f"There is no C++ compiler: step 3 leaves the fast kernels out ({GET_COMPILER}).")
    sys.stdout.flush()


def _named(extra: str = "") -> list[str]:
    """Return what pyproject.toml says that the project, or one of its extras, depends on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return list(project["optional-dependencies"][extra] if extra else project["dependencies"])


def _pip(python: Path) -> list[str | Path]:
    return [python, "-m", "pip", "install", "--disable-pip-version-check"]


def _is_there(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _make(venv: Path, steps: Steps) -> None:
    command = [sys.executable, "-m", "venv", "--clear", venv]
    try:
        steps.run(f"Making an environment in {venv}", command)
    except StepError as error:
        shutil.rmtree(venv, ignore_errors=True)
        raise StepError(
            f"{sys.executable} cannot make environments; Debian and Ubuntu have that in a package "
            f"of its own: apt-get install python3-venv. {error}"
        ) from None


def _without_kernels(steps: Steps) -> str:
    run_slowly = "so that the layers run without their fast kernels, slowly"
    if not _compiler():
        then = f"Install one ({GET_COMPILER}), then: make -B install"
        return f"There is no C++ compiler, {run_slowly}. {then}"
    wrong = [line for line in steps.log.read_text(errors="replace").splitlines() if "rror" in line]
    return (
        f"The kernels could not be compiled, {run_slowly}. When that is mended: make -B install\n"
        + (steps.tail(8, "\n".join(wrong)) if wrong else steps.tail())
    )


def _compiler() -> str | None:
    wanted = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [wanted] if wanted else COMPILERS)), None)


def _has_pip(python: Path) -> bool:
    """Whether an environment was made, and made whole."""
    if not python.exists():
        return False
    return subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0


def main(what: str, venv: str, *goals: str) -> int:
    """Do what is asked; return 1 where it fails, 130 where it is interrupted."""
    try:
        with alone(ROOT / "build" / "install.lock"):
            if what == "peers":
                peers(Path(venv))
            elif what == "extra":
                extra(Path(venv), *goals)
            else:
                install(Path(venv), goals)
    except StepError as error:
        print(error)
        return 1
    except PermissionError as error:
        print(f"{error.filename} may not be written here: does it belong to another user, or root?")
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
