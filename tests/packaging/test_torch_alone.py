"""The library needs torch and numpy, and nothing else of what the distribution depends on."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = {"torch", "numpy"}
TORCHS_OWN = {"jinja2"}  # torch depends on it
IMPORTED_AS = {"import-linter": "importlinter", "scikit-build-core": "scikit_build_core"}

PROGRAM = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        known = name.partition(".")[0] not in refused
        return self.finder.find_spec(name, path, target) if known else None

refused = set(sys.argv[1:])
sys.meta_path[:] = map(Without, sys.meta_path)

import torch
import sparselayers as sl

layer = sl.SparseLinear(32, 8, sparsity=0.5)
x, target = torch.randn(16, 32), torch.randn(16, 8)
losses = []
for _ in range(2):
    loss = torch.nn.functional.mse_loss(layer(x), target)
    layer.zero_grad()
    loss.backward()
    with torch.no_grad():  # an optimizer would import PyTorch's compiler, for seconds
        for parameter in layer.parameters():
            parameter -= 0.1 * parameter.grad
    losses.append(loss.item())
assert losses[1] < losses[0], losses
convolution = sl.SparseConv2d(4, 8, 3, sparsity=0.5)
convolution(torch.randn(2, 4, 8, 8)).sum().backward()
from sparselayers.backends.triton_kernels.tuning import Tuner
assert Tuner().path is None and Tuner().stored() == {}
assert not refused & {name.partition(".")[0] for name in sys.modules}
"""


def refused():
    """Return the import names of all that pyproject.toml names, and of the suite."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in named}
    names = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names - NEEDED - TORCHS_OWN}
    return sorted({*names, "pydantic_core", "sparsebench"})


def test_what_is_refused_is_what_we_depend_on():
    assert {"pandas", "pydantic", "platformdirs", "psutil", "safetensors"} < set(refused())


def test_the_library_trains_with_torch_and_numpy_alone():
    path = os.pathsep.join(place for place in sys.path if place)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *refused()],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
