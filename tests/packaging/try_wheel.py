"""Try a wheel as somebody would who has PyTorch and no compiler; print what came out.

    python tests/packaging/try_wheel.py dist/sparsebench-….whl

A fresh environment gets PyTorch, torchvision and what they need from the one that runs this (they
are gigabytes), and all else through pip. What is asked: is the wheel enough, for which instruction
sets are there kernels, how long does it take from `pip install` to the first step of a training,
and do the tests of the kernels pass. Returns 1 where one of them fails.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang", "cmake", "ninja", "make")
TESTS = ("test_native.py", "test_native_memory.py", "test_backends.py", "test_conv_native.py")

FIRST_STEP = """
import torch, sparselayers as sl
model = torch.nn.Sequential(sl.SparseLinear(784, 2000), torch.nn.ReLU(), torch.nn.Linear(2000, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, target = torch.randn(64, 784), torch.randint(10, (64,))
torch.nn.functional.cross_entropy(model(x), target).backward()
optimizer.step()
from sparselayers.backends.native import library
assert library.unavailable() is None, library.unavailable()
print(sl.__version__, *library.kernels.supported())
"""

SETTINGS = """[pytest]
addopts = --import-mode=importlib
pythonpath = .
filterwarnings = error
markers =
    gpu: needs a CUDA device
    slow: takes over ten seconds by itself
"""


def main(wheel: Path) -> int:
    """Try `wheel`, and print a report."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Fresh(Path(folder))
        found = [name for name in COMPILERS if shutil.which(name, path=str(fresh.scripts))]
        assert not found, f"there are compilers: {found}"
        print(f"fresh environment with torch {metadata.version('torch')}, without a compiler")
        install = ("-m", "pip", "install", "--only-binary=:all:")
        installing = fresh.timed(*install, str(wheel.resolve()))
        stepping = fresh.timed("-c", FIRST_STEP)
        print(f"pip install: {installing}; first step of a training: {stepping} more")
        print("version, instruction sets:", fresh.said.strip())
        fresh.timed(*install, "pytest>=8", "hypothesis>=6.100")
        shutil.copytree(ROOT / "tests", fresh.folder / "tests")
        (fresh.folder / "pytest.ini").write_text(SETTINGS)
        tests = [f"tests/sparselayers/{name}" for name in TESTS]
        testing = fresh.timed("-m", "pytest", "-q", *tests)
        passed = re.findall(r"^\d+ passed.*$", fresh.said, re.MULTILINE)
        print(f"tests of the kernels: {passed[-1]}, {testing}")
    return 0


class Fresh:
    """An environment below `folder`, whose programs are all that is on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, environment = folder, folder / "environment"
        venv.create(environment, with_pip=True, symlinks=True)
        self.scripts, self.said = environment / "bin", ""
        places = {"base": str(environment), "platbase": str(environment)}
        packages = Path(sysconfig.get_path("purelib", "venv", places))
        for name in _with_what_it_needs({"torch", "torchvision"}):
            _link(metadata.distribution(name), packages)

    def timed(self, *arguments: str) -> str:
        """Run this environment's Python; return how long it took, keep what it prints in `said`."""
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CXX", "CC")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        start, before = time.monotonic(), _processor_seconds()
        done = subprocess.run(
            [self.scripts / "python", *arguments],
            cwd=self.folder,
            env=kept | {"PATH": str(self.scripts)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = done.stdout
        if done.returncode:
            print(done.stdout)
            sys.exit(f"failed: python {' '.join(arguments[:3])}")
        seconds = time.monotonic() - start
        return f"{seconds:.0f} s ({_processor_seconds() - before:.0f} s of a processor)"


def _processor_seconds() -> float:
    """What the programs that were run have taken, whatever else the machine does."""
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken.ru_utime + taken.ru_stime


def _with_what_it_needs(names: set[str]) -> set[str]:
    """Return distributions that are installed here, and those that they need."""
    found: set[str] = set()
    while names:
        name = names.pop()
        found.add(name)
        for requirement in metadata.requires(name) or ():
            needed = re.match(r"[\w.-]+", requirement)[0].lower()
            # CUDA's libraries are extras of one distribution.
            wanted = "extra ==" not in requirement or name.startswith("cuda")
            if wanted and needed not in found and _is_here(needed):
                names.add(needed)
    return found


def _is_here(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _link(distribution: metadata.Distribution, packages: Path) -> None:
    """Let an environment have a distribution of this one, its folders and files as they are."""
    tops = {file.parts[0] for file in distribution.files or () if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        here = Path(str(distribution.locate_file(top)))
        if here.exists() and not (packages / top).exists():
            (packages / top).symlink_to(here)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
