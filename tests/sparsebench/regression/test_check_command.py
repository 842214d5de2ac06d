"""`sparsebench check`: what it compares, refuses and prints; one comparison is real."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.commands.check import trip_wires
from sparsebench.errors import InputError
from sparsebench.regression import builds, judging, results, turns, wires
from sparselayers.backends import BACKENDS
from tests.sparsebench.regression.test_judging import probe

ROOT = Path(__file__).parents[3]
NAME = "training-1024-90%-b128"


def git(*arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.example")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository, and the folder that we are in."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    (tmp_path / "pyproject.toml").write_text("")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    return tmp_path


def commit(folder, text):
    (folder / "pyproject.toml").write_text(text)
    git("commit", "--quiet", "-a", "-m", "next")


def call(*arguments):
    # Errors reach main(), which turns them into a message and an exit code.
    return CliRunner().invoke(cli.app, ["check", *arguments])


def test_without_a_base_it_passes_and_says_so(repository):
    done = call("--markdown", "c.md")
    assert done.exit_code == 0
    assert "is the first commit: there is no base to compare with" in done.stdout
    assert "no base to compare with" in Path("c.md").read_text()
    assert call("--base", "HEAD~1").exit_code == 0
    assert json.loads(call("--json").stdout) == {"base": None, "findings": []}


def test_the_base_is_the_commit_before_the_changes(repository):
    first = builds.head_of(repository)
    commit(repository, "# two")
    assert builds.base_of(repository, None).commit == first.commit
    (repository / "pyproject.toml").write_text("# changed")
    head = builds.head_of(repository)
    assert head.modified
    assert builds.base_of(repository, None).commit == head.commit != first.commit


def test_an_unknown_base_is_refused_and_a_shallow_clone_is_named(repository, tmp_path, monkeypatch):
    commit(repository, "# two")
    with pytest.raises(InputError, match="--base nonsense: no such commit"):
        builds.base_of(repository, "nonsense")
    git("clone", "--quiet", "--depth", "1", f"file://{repository}", str(tmp_path / "shallow"))
    with pytest.raises(InputError, match=r"not in this shallow clone.*git fetch --unshallow"):
        builds.base_of(tmp_path / "shallow", None)
    # What GitHub sends as the commit before a new branch's first.
    assert builds.base_of(repository, "0" * 40) is None


def test_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "is no git checkout" in str(call().exception)


def test_a_base_that_does_not_build_is_no_pass(repository):
    (repository / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "gone"\n'
    )
    git("commit", "--quiet", "-a", "-m", "broken")
    broken = builds.head_of(repository).commit
    commit(repository, "# mended")
    done = call("--out", "out")
    assert done.exit_code == 3
    assert f"{broken} does not build" in done.stderr
    assert "No module named 'gone'" in done.stderr or "gone" in done.stderr
    assert not Path("out").exists()
    trees = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(trees.stdout.splitlines()) == 1


def test_a_build_sees_the_packages_of_a_parent_environment_too(monkeypatch):
    """`python -m venv --system-site-packages` keeps PyTorch outside of its own folder."""
    monkeypatch.setattr(sys, "path", ["/src", *sys.path, "/usr/lib/python3/dist-packages"])
    found = builds._packages()
    assert found[-1] == "/usr/lib/python3/dist-packages"
    assert str(Path(pytest.__file__).parents[1]) in found
    assert "/src" not in found


def test_kernels_that_do_not_compile_are_no_pass(repository):
    """An installation succeeds without them, and then everything is slow: that proves nothing."""
    shutil.copy(ROOT / "pyproject.toml", repository)
    for name in ("README.md", "LICENSE", "licenses/x.txt", "layers/sparselayers/__init__.py",
                 "sparsebench/__init__.py", "experiments/published.toml"):  # fmt: skip
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("")
    (repository / "layers/sparselayers/__init__.py").write_text('__version__ = "1"\n')
    (repository / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(x LANGUAGES NONE)\n"
        'message(FATAL_ERROR "no such kernel")\n'
    )
    git("add", ".")
    git("commit", "--quiet", "-m", "broken")
    with (
        pytest.raises(builds.BuildError, match=r"kernels do not compile:\n(.*\n)*.*no such kernel"),
        builds.built(repository, builds.head_of(repository), repository / "scratch", head=True),
    ):
        pass
    assert not (repository / "scratch").exists()


@pytest.fixture
def measured(repository, monkeypatch):
    """A repository of two commits, whose builds and measurements are made up."""
    commit(repository, "# two")

    @contextmanager
    def built(root, revision, folder, *, head):
        yield builds.Build(revision, Path(sys.executable))

    monkeypatch.setattr(builds, "built", built)

    def measure(**options):
        monkeypatch.setattr(turns, "probe_with", lambda *_: probe(**options))

    measure(scatter=0.01)
    return measure


def test_what_is_the_same_passes_and_is_kept(measured):
    done = call("--out", "out")
    assert done.exit_code == 0, done.output
    assert "is not slower than" in done.stdout
    (found,) = results.load_checks(Path("out"))
    assert {f.verdict for f in found.findings} == {"same"}
    assert len(found.findings[0].base) == 5
    assert call("--out", "out").exit_code == 0
    assert len(results.load_checks(Path("out"))) == 2


def test_what_is_slower_fails_and_is_named(measured):
    measured(slower=[NAME])
    done = call("--out", "out", "--markdown", "c.md")
    assert done.exit_code == 4
    assert "is slower than" in done.stdout
    text = Path("c.md").read_text()
    assert "**failed**" in text
    assert f"| **{NAME}** | **time** |" in text
    assert text.count("slower (again)") == 1
    answer = json.loads(call("--out", "out", "--json", "--only", NAME).stdout)
    assert [f["verdict"] for f in answer["findings"]] == ["slower"]
    assert answer["findings"][0]["ratio"]["low"] > 1.1
    assert call("--out", "out", "--only", "over*").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "nothing"), "--only nothing: no such workload: choose from overhead"),
        (("--because", "x"), "--because goes with --update-trip-wires"),
        (("--update-trip-wires",), "needs --because"),
        (("--trip-wires",), "trip-wires.toml: no such file"),
    ],
)
def test_wrong_input_is_one_message(arguments, message, repository, monkeypatch):
    monkeypatch.setattr(wires, "CHECKOUT", repository)
    done = call(*arguments)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


@pytest.fixture
def wired(repository, monkeypatch):
    """A repository with one wire, limit 0.6, and what a process measures."""
    wire = wires.Wire(NAME, "time", "dense", measured=0.3, limit=0.6)
    change = wires.Change("2026-01-01", "abc", "Anvil", "first")
    wires.write(wires.FILE, wires.WireFile((change,), (wire,)))
    monkeypatch.setattr(trip_wires, "_need_kernels", lambda: None)

    def measure(ratio):
        answer = {
            "times": {NAME: {"ours": ratio, "dense": 1.0}}, "memory": {}, "failed": {}
        }  # fmt: skip
        monkeypatch.setattr(trip_wires, "_measured", lambda *_: answer)

    return measure


def test_trip_wires_are_found_from_any_folder(wired, monkeypatch):
    wired(0.4)
    (Path.cwd() / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(Path.cwd() / "deep" / "down")
    assert "1 trip wires hold" in call("--trip-wires").stdout
    monkeypatch.chdir("/")
    assert wires.file() == ROOT / wires.FILE
    assert wires.load(wires.file()).wires


def test_trip_wires_hold_or_fail(wired):
    wired(0.4)
    done = call("--trip-wires")
    assert (done.exit_code, "1 trip wires hold" in done.stdout) == (0, True)
    wired(0.7)
    done = call("--trip-wires")
    assert done.exit_code == 4
    assert "tripped" in done.stdout
    assert "--update-trip-wires" in done.stderr
    kept = results.load_wires(results.FOLDER)
    assert [c.findings[0].ratio for c in kept] == [0.4, 0.7]
    assert json.loads(call("--trip-wires", "--json").stdout)["findings"][0]["held"] is False


def test_an_update_explains_itself(wired):
    wired(0.5)
    done = call("--update-trip-wires", "--because", "the product is exact now")
    assert done.exit_code == 0
    for part in (NAME, "0.3", "0.5", "0.6", "2", "the product is exact now"):
        assert part in done.stdout
    file = wires.load(wires.FILE)
    assert [c.because for c in file.changes] == ["first", "the product is exact now"]
    assert [(w.measured, w.limit) for w in file.wires] == [(0.5, 2.0)]
    (plain,) = json.loads(call("--update-trip-wires", "--because", "x", "--json").stdout)
    assert (plain["was"]["limit"], plain["is"]["workload"]) == (2.0, NAME)


def test_without_kernels_nothing_holds(wired, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(BACKENDS["native"], "unavailable", lambda: "no kernels here")
    done = CliRunner().invoke(cli.app, ["check", "--trip-wires", "--only", "*"])
    assert done.exit_code == 3
    assert "no kernels here" in done.stderr


# What is appended to the native backend: each of its products takes three times as long.
SLOWER = """

def _slower(product):
    def slow(*args, **kwargs):
        for _ in range(2):
            product(*args, **kwargs)
        return product(*args, **kwargs)

    return slow


for _backend in (Native, few.Few, one_block.OneBlock):
    for _name in ("forward", "backward"):
        setattr(_backend, _name, _slower(getattr(_backend, _name)))
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKENDS["native"].unavailable() is not None, reason="needs the kernels")
def test_a_patch_that_makes_a_layer_slower_is_caught(repository):
    """Real sources, environments and processes; the kernels are those compiled already.

    Inference, as its processes need not import what optimizers do.
    """
    for name in (*builds._INSTALLED, *builds._PACKAGES):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, repository / name)
    git("add", ".")
    git("commit", "--quiet", "-m", "real")
    kept = repository / "build" / "check"
    kept.mkdir(parents=True)
    import sparselayers._native as compiled

    shutil.copy2(compiled.__file__, kept / f"{builds._fingerprint(repository)}{builds._suffix()}")
    with (repository / "layers/sparselayers/backends/native/__init__.py").open("a") as file:
        file.write(SLOWER)
    base, head = builds.base_of(repository, None), builds.head_of(repository)
    assert (base.commit, base.modified, head.modified) == (head.commit, False, True)
    with (
        builds.built(repository, base, repository / "a", head=False) as first,
        builds.built(repository, head, repository / "b", head=True) as second,
    ):
        pythons = {"base": first.python, "head": second.python}
        probe = turns.probe_with(pythons, repository, 0.02)
        (found,) = judging.judged(probe, ["inference-1024-90%-b128"], processes=1)
    assert (found.verdict, found.again) == ("slower", True)


def test_looking_for_pip_asks_no_hook(repository, monkeypatch):
    # setuptools' own replaces distutils when pip is looked for, and warns where it was imported.
    class Hook:
        def find_spec(self, name, path=None, target=None):
            assert name != "pip"

    monkeypatch.setattr(sys, "meta_path", [Hook(), *sys.meta_path])
    done = subprocess.CompletedProcess((), 0)
    monkeypatch.setattr(builds.subprocess, "run", lambda *_, **__: done)
    revision = builds.Revision(commit="0" * 40, date="")
    folder = repository / "scratch"
    folder.mkdir()
    builds._install(folder, folder / "python", folder / "log", revision, kernels=False)
