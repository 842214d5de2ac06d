"""A revision made measurable: its sources in a folder, and an environment that has them installed.

The environment sees the packages of the one that asks (torch is gigabytes), and has the revision's
own library in front of them, kernels included. Both sides are built alike, the head too: what is
measured is what an installation of the sources gives, and not what an editable one has left over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from sparsebench.errors import InputError

_LOG_LINES = 25
_GAVE_UP = "retrying due to override"  # scikit-build-core, before it leaves the kernels out
_KERNELS = "_native*.so"
# What of the sources decides which kernels come out.
_COMPILED = ("CMakeLists.txt", "pyproject.toml", "layers/sparselayers/csrc", "layers/csrc")
_INSTALLED = ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "licenses")
_PACKAGES = ("layers", "sparsebench", "experiments")


class BuildError(RuntimeError):
    """A revision cannot be built, or does not run: says which, and the end of its log (exit 3)."""


@dataclass(frozen=True)
class Revision:
    """A commit, when it was made (ISO 8601), and whether the files differ from it."""

    commit: str
    date: str
    modified: bool = False


@dataclass(frozen=True)
class Build:
    """A revision, and the Python that has it installed."""

    revision: Revision
    python: Path


def repository(start: Path) -> Path:
    """Return the folder of the checkout at or above `start`. Raises InputError where none is."""
    try:
        return Path(_git(start, "rev-parse", "--show-toplevel"))
    except (OSError, subprocess.CalledProcessError):
        raise InputError(
            f"{start}: is no git checkout, so there is no revision to compare with"
        ) from None


def head_of(root: Path) -> Revision:
    """Return what the working tree is."""
    commit, date = _git(root, "log", "-1", "--format=%h %cI", "--abbrev=12").split()
    return Revision(commit, date, bool(_git(root, "status", "--porcelain", "--", *_relevant(root))))


def base_of(root: Path, asked: str | None) -> Revision | None:
    """Return the revision that was asked for, or None where the head is the first commit.

    By default it is the head's own commit if the working tree differs from it, and otherwise its
    parent. Raises InputError for a name that is no commit, or where the history is cut off.
    """
    name = asked or ("HEAD" if head_of(root).modified else "HEAD~1")
    try:
        found = _git(
            root, "log", "-1", "--format=%h %cI", "--abbrev=12", f"{name}^{{commit}}", "--"
        )
        commit, date = found.split()
        return Revision(commit, date)
    except subprocess.CalledProcessError:
        pass
    if _git(root, "rev-parse", "--is-shallow-repository") == "true":
        raise InputError(
            f"--base {name}: not in this shallow clone: fetch more of the history first "
            "(git fetch --unshallow)"
        )
    if int(_git(root, "rev-list", "--count", "HEAD")) == 1 or (asked and set(asked) == {"0"}):
        return None
    raise InputError(f"--base {name}: no such commit in {root}")


@contextmanager
def built(root: Path, revision: Revision, folder: Path, *, head: bool) -> Iterator[Build]:
    """Build `revision`, in a work tree of its own unless it is the `head`; remove all of it again.

    Kernels that were compiled before from the same sources are kept in `root`/build/check and
    used again. Raises BuildError.
    """
    sources = folder / "sources"
    folder.mkdir(parents=True)
    try:
        if head:
            _copy(root, sources)
        else:
            _git(root, "worktree", "add", "--force", "--detach", str(sources), revision.commit)
        yield Build(revision, _installed(sources, folder, root / "build" / "check", revision))
    finally:
        if not head:
            subprocess.run(
                ["git", "-C", str(root), "worktree", "remove", "--force", str(sources)],
                capture_output=True,
                check=False,
            )
        shutil.rmtree(folder, ignore_errors=True)


def packages(build: Build) -> Path:
    """Return the folder that a build's packages are installed in."""
    return _site(build.python.parents[1])


def kernels(build: Build) -> Path:
    """Return the compiled kernels of a build."""
    return next(packages(build).glob(f"*/{_KERNELS}"))


def _installed(sources: Path, folder: Path, kept: Path, revision: Revision) -> Path:
    """Install `sources` into a new environment in `folder`; return its Python."""
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    packages = _site(environment)
    # A plain line adds a folder to the path, and does not read the .pth files in it: an editable
    # installation there stays out of this.
    (packages / "shared.pth").write_text("".join(f"{folder}\n" for folder in _packages()))
    library = packages / _library(sources)
    known = kept / f"{_fingerprint(sources)}{sysconfig.get_config_var('EXT_SUFFIX')}"
    log = folder / "log"
    _install(sources, python, log, revision, kernels=not known.exists())
    if known.exists():
        shutil.copy2(known, library / f"_native{_suffix()}")
        return python
    compiled = next(library.glob(_KERNELS), None)
    if compiled is None:
        raise BuildError(f"{_named(revision)}: its kernels do not compile:\n{_end_of(log)}")
    kept.mkdir(parents=True, exist_ok=True)
    part = known.with_suffix(f".{os.getpid()}")
    shutil.copy2(compiled, part)
    part.replace(known)
    return python


def _site(environment: Path) -> Path:
    """Return the folder of packages of an environment."""
    places = {"base": str(environment), "platbase": str(environment)}
    return Path(sysconfig.get_path("purelib", "venv", places))


def _library(sources: Path) -> str:
    """Return the import name of the library in `sources`, which was `layers` once."""
    return "sparselayers" if (sources / "layers" / "sparselayers").is_dir() else "layers"


def _packages() -> list[str]:
    """Return the folders of packages that this environment sees, those of a parent included."""
    found = [folder for folder in sys.path if Path(folder).name.endswith("-packages")]
    return list(dict.fromkeys([sysconfig.get_path("purelib"), *found]))


def _install(sources: Path, python: Path, log: Path, revision: Revision, *, kernels: bool) -> None:
    """Have pip build and install `sources`, without what they depend on."""
    # Not find_spec: it asks setuptools' hook too, which replaces distutils when pip is looked for.
    if PathFinder.find_spec("pip") is None:
        raise InputError("this environment has no pip, which builds the revisions: install it")
    command = [
        sys.executable, "-m", "pip", "--python", str(python), "install", "--verbose",
        "--disable-pip-version-check", "--no-deps", "--ignore-installed",
    ]  # fmt: skip
    if all(map(find_spec, ("scikit_build_core", "nanobind"))) and shutil.which("cmake"):
        command += ["--no-build-isolation"]  # what builds is here: no network is needed
    if not kernels:
        command += ["--config-settings=wheel.cmake=false"]
    with log.open("w") as output:
        done = subprocess.run([*command, str(sources)], stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        raise BuildError(f"{_named(revision)} does not build:\n{_end_of(log)}")


def _copy(root: Path, sources: Path) -> None:
    """Copy what of the working tree is installed, files that git does not know yet included."""
    listed = _git(
        root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_relevant(root)
    )
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():  # and was not removed
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, sources / name)


def _relevant(root: Path) -> list[str]:
    return [name for name in (*_INSTALLED, *_PACKAGES) if (root / name).exists()]


def _fingerprint(sources: Path) -> str:
    """Name the sources of the kernels, and what they are compiled with and for."""
    digest = hashlib.sha256(repr((sys.version, os.environ.get("CXX"), _suffix())).encode())
    for name in _COMPILED:
        place = sources / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                digest.update(str(file.relative_to(sources)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _end_of(log: Path) -> str:
    """Return the end of a build's log, up to where it gave the kernels up.

    Where a compiler complained before that, from its first complaint on.
    """
    lines = log.read_text(errors="replace").splitlines()
    lines = lines[: next((n for n, line in enumerate(lines) if _GAVE_UP in line), None)]
    complaints = [n for n, line in enumerate(lines) if "error:" in line or "CMake Error" in line]
    first = complaints[0] if complaints else len(lines) - _LOG_LINES
    return "\n".join(lines[max(0, first) :][:_LOG_LINES])


def _named(revision: Revision) -> str:
    return f"{revision.commit}{' with changes' if revision.modified else ''}"


def _suffix() -> str:
    return str(sysconfig.get_config_var("EXT_SUFFIX"))


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()
