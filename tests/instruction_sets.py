"""The tests of a file once more, in a process that is told to use another instruction set."""

import os
import subprocess
import sys

import pytest

from sparselayers.backends.native import library


def run(file, name, chosen="not instruction"):
    """Run the tests of `file` that `chosen`, as pytest's -k reads it, names: with kernels `name`.

    Skips what runs anyway, and what this machine has not.
    """
    if name == library.isa()[0]:
        pytest.skip("the other tests of this file run it")
    if name not in library.kernels.supported():
        pytest.skip(f"no {name} here")
    script = f"import pytest, sys; sys.exit(pytest.main(['-q', '-k', '{chosen}', sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", script, file],
        env={**os.environ, "SPARSEBENCH_ISA": name},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
