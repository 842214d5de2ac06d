"""Installed into a fresh environment, beside a user's files whose names are everybody's.

The environment sees the packages of the one that tests (torch is gigabytes) and nothing of the
checkout; no network is needed, and nothing is compiled: kernels that are here already are used.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import sparsebench
import sparselayers

ROOT = Path(__file__).parents[2]
NAMES = ("sparsebench", "sparselayers")
BUILD = ["--no-deps", "--no-build-isolation", "--config-settings=wheel.cmake=false", "--quiet"]

USERS_FILES = {
    "layers.py": "class MyLayer: ...\n",
    "utils.py": "NAME = 'mine'\n",
    "experiments/__init__.py": "",
    "experiments/first.py": "RATE = 0.1\n",
    "tests/helpers.py": "HELP = 1\n",  # no __init__.py: a regular package elsewhere would win
}

SCRIPT = """
import sys
import torch
import sparselayers as sl
import utils
from experiments.first import RATE
from layers import MyLayer
from tests.helpers import HELP

assert utils.NAME == "mine" and HELP == 1
assert MyLayer.__module__ == "layers"
layer = sl.SparseLinear(32, 8, sparsity=0.5)
optimizer = torch.optim.SGD(layer.parameters(), lr=RATE)
x, target = torch.randn(16, 32), torch.randn(16, 8)
losses = []
for _ in range(2):
    loss = torch.nn.functional.mse_loss(layer(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[1] < losses[0], losses
"""

# What the script goes on with; it is given the folder of the checkout.
FINDS = """
from importlib.util import find_spec
from pathlib import Path
import sparsebench, sparselayers
from sparsebench.cases import sweep
from sparsebench.training import published
from sparsebench.training.datasets import digits

ours = [Path(sys.argv[1]), Path(sparsebench.__file__).parents[1]]
for name in ("layers", "experiments", "tests", "benchmarks", "docs", "results", "plots", "csrc"):
    spec = find_spec(name)
    places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
    places += [] if spec is None or spec.origin is None else [Path(spec.origin)]
    assert not [p for p in places if any(p.is_relative_to(o) for o in ours)], (name, places)
assert "smoke" in sweep.names() and sweep.load("smoke")
assert digits.read_subset()
assert published.published()
for package in (sparsebench, sparselayers):
    assert any((Path(folder) / "py.typed").is_file() for folder in package.__path__)
print(sparsebench.__file__)
"""


class Installed:
    """An environment that has the distribution, and a user's folder."""

    def __init__(self, folder):
        self.folder, environment = folder / "user", folder / "environment"
        venv.create(environment, symlinks=True)
        self.scripts = environment / "bin"
        self.python = self.scripts / "python"
        places = {"base": str(environment), "platbase": str(environment)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", places))
        # A plain line adds a folder to the path and reads no .pth in it: no editable installation.
        shared = [place for place in sys.path if place.endswith("-packages")]
        (self.packages / "shared.pth").write_text("\n".join(shared) + "\n")
        for name, text in USERS_FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)

    def pip(self, *arguments):
        """Have this environment's Python run the pip of the one that tests."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        self.run(*command, cwd=ROOT)

    def run(self, *command, cwd=None):
        """Return what a command prints, in the user's folder and without the checkout."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, without kernels."""
    folder = tmp_path_factory.mktemp("wheel")
    where = [f"--config-settings=build-dir={folder / 'build'}", f"--wheel-dir={folder}"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *BUILD, *where, str(ROOT)], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def regular(wheel, tmp_path_factory):
    installed = Installed(tmp_path_factory.mktemp("regular"))
    installed.pip("install", "--no-deps", "--ignore-installed", "--quiet", str(wheel))
    for kernels in _kernels():
        shutil.copy2(kernels, installed.packages / "sparselayers")
    return installed


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editable")
    installed = Installed(folder)
    build = f"--config-settings=build-dir={folder / 'build'}"
    installed.pip("install", *BUILD, build, "--ignore-installed", "--editable", str(ROOT))
    return installed


# Their programs import torch, for seconds each. All tests run in what `make install` does.
@pytest.fixture(params=["regular", pytest.param("editable", marks=pytest.mark.slow)])
def installed(request):
    return request.getfixturevalue(request.param)


def _kernels():
    return [file for place in sparselayers.__path__ for file in Path(place).glob("_native*.so")]


def test_the_wheel_holds_two_packages_and_no_sources_of_kernels(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(NAMES)
    assert not [name for name in names if "csrc" in name]
    assert not [name for name in names if "/experiments/" in name and name.endswith(".py")]
    shipped = {name.removeprefix("sparsebench/") for name in names if "/experiments/" in name}
    asked = [p for p in (ROOT / "experiments").rglob("*") if p.suffix in {".toml", ".npz"}]
    assert shipped >= {str(file.relative_to(ROOT)) for file in asked}


def test_the_wheel_holds_every_module(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name, folder in zip(NAMES, (ROOT, ROOT / "layers"), strict=True):
        modules = {str(file.relative_to(folder)) for file in (folder / name).rglob("*.py")}
        assert len(modules) > 50
        assert modules <= names, sorted(modules - names)


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (told,) = (archive.read(n) for n in names if n.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(told)
    assert metadata["Version"] == sparselayers.__version__ == sparsebench.__version__
    assert metadata["License-Expression"] == "MIT"
    licences = {name.partition(".dist-info/licenses/")[2] for name in names}
    assert {"LICENSE", "licenses/nanobind.txt", "licenses/robin-map.txt"} <= licences
    assert {"sparse", "pytorch"} < set(metadata["Keywords"].split(","))
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert {f"{name}/py.typed" for name in NAMES} < set(names)
    hosts = {urlsplit(url.split(", ")[1]).hostname for url in metadata.get_all("Project-URL")}
    assert hosts <= {"github.com"}  # none but those that the repository knows


def test_a_users_script_imports_its_own_files_and_trains_and_finds_our_two_names_alone(installed):
    (installed.folder / "train.py").write_text(SCRIPT + FINDS)
    where = Path(installed.run(str(installed.python), "train.py", str(ROOT)).strip())
    assert where.is_relative_to(ROOT) or where.is_relative_to(installed.packages)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["script", "module"])
def test_the_command_runs_beside_a_users_files(how, installed):
    start = {
        "script": [str(installed.scripts / "sparsebench")],
        "module": [str(installed.python), "-m", "sparsebench"],
    }[how]
    found, _ = json.JSONDecoder().raw_decode(installed.run(*start, "env"))
    assert found["sparsebench"]["version"] == version("sparsebench")
