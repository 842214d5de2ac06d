"""What `make` says while it installs, with a Python whose environments only pretend to install."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="needs make")

# Makes environments with PIP below; runs all else as a Python that believes to be this file.
PYTHON = """#!/bin/sh
case "$*" in
  tools/*)
    exec "{python}" -c 'import runpy, sys
sys.executable, sys.argv[:] = sys.argv[1], sys.argv[2:]
sys.path.insert(0, "tools")
runpy.run_path(sys.argv[0], run_name="__main__")' "$0" "$@";;
  "-m venv "*)
    case "$FAKE" in no-venv) echo "ensurepip is not available"; exit 1;; esac
    for folder; do :; done
    mkdir -p "$folder/bin" && cp "{pip}" "$folder/bin/python";;
  *) exec "{python}" "$@";;
esac
"""

PIP = """#!/bin/sh
test "$1" = -c && exit 0
echo "Collecting much"
echo "$@" >> calls
# Not for ever: a test that fails waits for what it has begun.
left=6000
while test "$FAKE" = slow -a ! -e go -a $left -gt 0; do sleep 0.05; left=$((left - 1)); done
case "$FAKE $*" in
  "no-network "*) echo "NewConnectionError: Failed to establish a new connection"; exit 1;;
  "broken "*) echo "ERROR: No matching distribution found for abacus"; exit 1;;
  "no-kernels "*--editable*) echo "csrc/simd.h:7: error: no such thing as simd";;
  "ok "*--editable*|"slow "*--editable*) mkdir -p .venv/lib/python3/site-packages/sparselayers
    touch .venv/lib/python3/site-packages/sparselayers/_native.so;;
esac
"""

OLD = """#!/bin/sh
test "$1" = --version && { echo "Python 3.9.2"; exit 0; }
exit 1
"""


@pytest.fixture
def checkout(tmp_path):
    """A clone whose programs are few: a shell's, and the Python above."""
    for name in ("Makefile", "pyproject.toml", "CMakeLists.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("awk", "cat", "cp", "mkdir", "rm", "sleep", "touch"):
        (programs / name).symlink_to(shutil.which(name))
    scripts = {
        "python3": PYTHON.format(pip=programs / "pip", python=sys.executable),
        "pip": PIP,
        "old": OLD,
        "c++": "#!/bin/sh\n",
    }
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return tmp_path


def make(checkout, *arguments, fake="ok"):
    """What make prints, and whether it succeeds."""
    done = begun(checkout, *arguments, fake=fake)
    said, _ = done.communicate()
    return said, done.returncode == 0


def begun(checkout, *arguments, fake="ok"):
    """A make that runs."""
    unset = {"CXX", "MAKEFLAGS", "MAKELEVEL", "PYTHON", "PYTHONPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.Popen(
        [MAKE, "-C", checkout, "--no-print-directory", *arguments],
        # No index: should what is asked here ever reach the real pip, it stops at once.
        env=environment | {"PATH": str(checkout / "programs"), "FAKE": fake, "PIP_NO_INDEX": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_first_time_says_what_it_will_do_and_then_a_sentence_a_step(checkout):
    said, well = make(checkout, "install")
    assert well, said
    plan, _, steps = said.partition("goes on from there.\n")
    assert re.findall(r"^  (\d)\. \D.*(?:seconds|minutes)", plan, re.MULTILINE) == ["1", "2", "3"]
    assert len(steps.splitlines()) == 3
    assert all(re.fullmatch(r"\S.* \.\.\. \d+ s\.", line) for line in steps.splitlines())
    assert "Collecting much" in (checkout / "build" / "install.log").read_text()


def test_the_sweep_is_part_of_what_make_bench_will_do(checkout):
    said, _ = make(checkout, "bench")
    assert re.search(r"^  4\. measure the default sweep .*about 10 minutes", said, re.MULTILINE)


def test_a_second_time_does_nothing_and_a_change_installs_again(checkout):
    make(checkout, "install")
    calls = checkout / "calls"
    before = calls.read_text()
    assert make(checkout, "install")[1]
    assert calls.read_text() == before
    said, well = make(checkout, "-B", "install")
    assert well
    assert said.startswith("Bringing .venv up to date.\n")
    assert calls.read_text() == before * 2


def test_a_python_file_that_has_moved_installs_again(checkout):
    """An editable installation looked for it where it was: "No such file or directory"."""
    package = checkout / "sparsebench" / "commands"
    package.mkdir(parents=True)
    (package / "train.py").touch()
    make(checkout, "install")
    calls = checkout / "calls"
    before = calls.read_text()
    (package / "other.py").touch()
    make(checkout, "install")
    assert calls.read_text() == before
    (package / "train.py").rename(checkout / "sparsebench" / "train.py")
    make(checkout, "install")
    assert calls.read_text() == before * 2
    make(checkout, "install")
    assert calls.read_text() == before * 2


def test_a_second_make_in_the_same_checkout_waits_and_says_so(checkout):
    """Two at once left the kernels out: CMake failed in a folder that the other one wrote to."""
    calls = checkout / "calls"
    with begun(checkout, "install", fake="slow") as first:
        while not calls.exists():
            assert first.poll() is None
            time.sleep(0.01)
        with begun(checkout, "-B", "install") as second:
            said = second.stdout.readline()
            assert re.fullmatch(
                r"Another make installs in this checkout \(process \d+\): waiting for it.\n", said
            )
            assert len(calls.read_text().splitlines()) == 1
            (checkout / "go").touch()
            assert "failed" not in first.stdout.read()
            assert second.stdout.readline() == "Bringing .venv up to date.\n"
            second.stdout.read()
    assert (first.returncode, second.returncode) == (0, 0)
    done = calls.read_text().splitlines()
    assert len(done) == 4
    assert done == done[:2] * 2


def test_everything_that_the_project_names_is_installed(checkout):
    make(checkout, "install")
    first, last = (checkout / "calls").read_text().splitlines()
    assert all(name in first for name in ("torch>=", "pandas>=", "pytest>=", "ruff>="))
    assert last.endswith("--no-deps --no-build-isolation --editable .")
    assert all(name in first for name in ("cmake>=", "nanobind>=", "ninja>=", "scikit-build"))


def test_a_failure_names_the_log_and_its_last_lines(checkout):
    said, well = make(checkout, "install", fake="broken")
    assert not well
    assert "The last lines of build/install.log:" in said
    assert "  | ERROR: No matching distribution found for abacus" in said
    assert not (checkout / ".venv" / ".installed").exists()


def test_no_network_is_one_sentence_and_what_is_done_stays(checkout):
    said, well = make(checkout, "install", fake="no-network")
    assert not well
    assert "pip cannot reach the package index. Connect to the network" in said
    assert "Collecting" not in said
    again, well = make(checkout, "install")
    assert well
    assert "Making an environment" not in again


def test_a_python_that_makes_no_environments_is_told_what_is_missing(checkout):
    said, well = make(checkout, "install", fake="no-venv")
    assert not well
    assert "apt-get install python3-venv" in said
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("python", "is_"), [("old", "Python 3.9.2"), ("none", "none: .*")])
def test_another_python_is_asked_for_in_one_sentence(python, is_, checkout):
    said, well = make(checkout, "install", f"PYTHON={python}")
    assert not well
    wanted = rf"sparsebench needs Python 3.11 or newer, and {python} is .*{is_}: choose another"
    assert re.search(wanted, said)
    assert "Traceback" not in said


def test_without_a_compiler_it_installs_and_says_what_is_missing(checkout):
    (checkout / "programs" / "c++").unlink()
    said, well = make(checkout, "install", fake="no-kernels")
    assert well
    assert "There is no C++ compiler: step 3 leaves the fast kernels out" in said
    assert "Compiling" not in said
    assert "Install one (Debian" in said.splitlines()[-1]


def test_kernels_that_cannot_be_compiled_are_not_passed_over(checkout):
    said, well = make(checkout, "install", fake="no-kernels")
    assert well
    assert "The kernels could not be compiled" in said
    assert "  | csrc/simd.h:7: error: no such thing as simd" in said


def test_every_target_is_listed(checkout):
    said, _ = make(checkout)
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(targets) > 20
    assert re.findall(r"^  make (\S+) ", said, re.MULTILINE) == targets
