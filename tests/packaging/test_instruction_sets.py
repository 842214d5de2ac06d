"""For which instruction sets the kernels are compiled: CMake's SPARSEBENCH_INSTRUCTION_SETS."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

nanobind = pytest.importorskip("nanobind")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "c++"))), reason="needs CMake and a C++ compiler"
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A folder for all: what CMake has found out about the compiler it need not ask again."""
    return tmp_path_factory.mktemp("build")


def configure(build, wanted):
    """What CMake says when it is asked for these instruction sets, and whether it goes on."""
    run = subprocess.run(
        [
            *("cmake", "-S", ROOT, "-B", build),
            f"-Dnanobind_DIR={nanobind.cmake_dir()}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DSPARSEBENCH_INSTRUCTION_SETS={wanted}",
        ],
        capture_output=True,
        text=True,
    )
    return " ".join((run.stdout + run.stderr).split()), run.returncode == 0


def test_one_instruction_set_is_enough(build):
    said, goes_on = configure(build, "scalar")
    assert goes_on, said
    assert "Kernels for: scalar --" in said


def test_an_unknown_one_is_named_with_those_there_are(build):
    said, goes_on = configure(build, "scalar;abacus")
    assert not goes_on
    assert "SPARSEBENCH_INSTRUCTION_SETS: abacus is not known on" in said
    assert "choose all, or some of: scalar" in said
