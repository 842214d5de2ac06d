"""`sparsebench check --instructions`: how counts are judged and told, and that they are counts."""

import json
import shutil
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.regression import builds, counted, instructions, results
from sparsebench.regression.counted.workloads import ISA, WORKLOADS
from sparsebench.regression.instructions import Counts, Side
from sparselayers.backends.native import library
from tests.sparsebench.regression.test_check_command import commit, repository  # noqa: F401

ROOT = Path(__file__).parents[3]
SAME, CHANGED = "lanes-y-f32-b16", "row_blocks-y-f32-b1"
ALIKE = (SAME, "few-backward-f32-b1", "rewiring-scatter")
# What is computed twice in the head: the file that calls it, and the end of the call.
TWICE = {
    CHANGED: ("row_blocks.py", "*work.y(), THREADS)\n"),
    "few-y-f32-b8": ("few.py", "work.batch, y, THREADS)\n"),
    "nonzero-y-f32-b1": ("nonzero.py", "*work.y(), THREADS)\n"),
    "rewiring-merge": ("rewiring.py", "*arrays, THREADS)\n"),
}


def counts(failed=(), **sizes_and_instructions):
    return Counts(sizes_and_instructions, dict.fromkeys(failed, "TypeError: no"))


def verdicts(base, head, **options):
    return {f.workload: f.verdict for f in instructions.judged(base, head, **options)}


def test_more_is_more_than_the_tolerance():
    base = counts(a=(8, 10_000), b=(8, 10_000), c=(8, 10_000), d=(8, 10_000))
    head = counts(a=(8, 10_200), b=(8, 10_201), c=(8, 9_700), d=(8, 9_900))
    assert verdicts(base, head) == {"a": "same", "b": "more", "c": "fewer", "d": "same"}
    assert set(verdicts(base, head, tolerance=0.1).values()) == {"same"}
    found = instructions.judged(base, head)[1]
    assert (found.base, found.head, found.ratio) == (10_000, 10_201, 1.0201)


def test_what_one_side_alone_has_is_named_and_not_compared():
    base = counts(old=(8, 10), grown=(8, 10), lost=(8, 10), gone=(8, 10))
    head = counts(["lost", "never"], new=(8, 10), grown=(16, 30))
    found = {f.workload: f for f in instructions.judged(base, head)}
    assert {name: f.verdict for name, f in found.items()} == {
        "new": "not in base",
        "grown": "another size",
        "lost": "broken",
        "never": "no count",
        "old": "not in head",
        "gone": "not in head",
    }
    assert all(f.ratio is None for f in found.values())
    assert found["lost"].message == "TypeError: no"


def test_a_base_whose_kernels_lack_one_is_no_failure():
    """It is called by what the head has to call it, which finds nothing there."""
    base, head = counts(["few"], other=(8, 10)), counts(few=(8, 10), other=(8, 10))
    few, other = instructions.judged(base, head)
    assert (few.verdict, few.message, other.verdict) == ("not in base", "TypeError: no", "same")


# Of two workloads, as callgrind writes it: names once, in short from then on.
FILE = """\
part: 1
desc: Trigger: Client Request: a
events: Ir
summary: 1234

ob=(1) /usr/lib/libc.so.6
fl=(1) ???
fn=(1) malloc
0 17

ob=(2) /tmp/_native.so
fn=(2)
0 100
cob=(1)
cfn=(1)
calls=1 0
0 17
+3 20
* 3
totals: 157

part: 2
desc: Trigger: Client Request: b
ob=(2)
fn=(2)
cob=(3) /usr/lib/libgomp.so.1
cfn=(9) GOMP_parallel
calls=2 0
0 900
-4 7
ob=(3)
fn=(9)
0 890

part: 3
desc: Trigger: Program termination
ob=(2)
fn=(2)
0 5000
"""


def test_a_count_is_of_the_kernels_alone():
    found = instructions.totals(FILE.splitlines(keepends=True), Path("/tmp/_native.so"))
    assert found == {"a": 123, "b": 7}


def test_without_valgrind_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(instructions.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"needs valgrind.*apt-get install valgrind"):
        instructions.valgrind()
    monkeypatch.setattr(instructions.platform, "machine", lambda: "aarch64")
    with pytest.raises(InputError, match="of type aarch64 does not run: x86-64 does"):
        instructions.valgrind()


def test_the_guide_says_what_the_record_does():
    same, twice = results.load_counts(ROOT / "results" / "reference" / "check")
    text = " ".join((ROOT / "docs/guides/performance-check.md").read_text("utf-8").split())
    alike = [sum(f.base == f.head for f in check.findings) for check in (same, twice)]
    more = [f.workload for f in twice.failures]
    assert {name.rpartition("-")[0] for name in more} == {"bitmaps-y-f32", "bitmaps-y-bf16"}
    assert f"{alike[0]} of {len(same.findings)} workloads" in text
    assert f"its {len(more)} are named and {alike[1]} count alike" in text
    assert f"({same.wall_s:.0f} and {twice.wall_s:.0f} s on" in text


# Stands for valgrind: runs no program, and writes what callgrind would.
TOOL = """#!{python}
import pathlib, sys
(file,) = (a.split("=", 1)[1] for a in sys.argv if a.startswith("--callgrind-out-file="))
print("lanes-y-f32-b16", file=sys.stderr)
if {crashes!r} and "head" in file:
    sys.exit("==1== Segmentation fault")
print("lanes-y-f32-b16", 512, sep="\\t")
print("bitmaps-y-f32-b16", "failed", "TypeError: no", sep="\\t")
print("row_blocks-y-f32-b1", 256, sep="\\t")
part = "desc: Trigger: Client Request: {{}}\\nob=(1) {{}}\\nfn=(1)\\n0 {{}}\\n"
names = ["lanes-y-f32-b16", "row_blocks-y-f32-b1"][:{parts}]
kernels = next(a for a in sys.argv if a.endswith("kernels"))
counts = [part.format(name, kernels, {each} * n) for n, name in enumerate(names, 1)]
pathlib.Path(file).write_text("".join(counts))
"""


@pytest.fixture
def tool(tmp_path):
    def make(*, crashes=False, parts=2, each=10):
        file = tmp_path / "valgrind"
        text = TOOL.format(python=sys.executable, crashes=crashes, parts=parts, each=each)
        file.write_text(text)
        file.chmod(0o755)
        return str(file)

    return make


def counted_by(tool, folder):
    sides = dict.fromkeys(("base", "head"), Side(Path("kernels"), ROOT))
    return instructions.count(tool, sides, dict.fromkeys(sides, (SAME,)), folder)


def test_counts_are_read_from_both_sides(tool, tmp_path):
    found = counted_by(tool(), tmp_path)
    assert found["base"] == found["head"]
    assert found["base"].counted == {SAME: (512, 10), CHANGED: (256, 20)}
    assert found["base"].failed == {"bitmaps-y-f32-b16": "TypeError: no"}


def test_what_crashes_is_no_pass(tool, tmp_path):
    message = f"the head is built, and does not run {SAME}:\n==1== Segmentation fault"
    with pytest.raises(builds.BuildError, match=message):
        counted_by(tool(crashes=True), tmp_path)


def test_what_was_not_seen_is_no_pass(tool, tmp_path):
    with pytest.raises(builds.BuildError, match=f"no counts of the base for {CHANGED}"):
        counted_by(tool(parts=1), tmp_path)
    with pytest.raises(builds.BuildError, match=f"no counts of the base for {SAME}, {CHANGED}"):
        counted_by(tool(each=0), tmp_path)


def test_the_folder_of_a_build(tmp_path):
    build = builds.Build(builds.Revision("abc", ""), tmp_path / "bin" / "python")
    packages = builds.packages(build)
    assert packages.is_relative_to(tmp_path)
    kernels = packages / "sparselayers" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    kernels.parent.mkdir(parents=True)
    kernels.touch()
    # A revision without the package is called by ours.
    assert Side.of(build) == Side(kernels, ROOT)
    (packages / "sparsebench" / "regression" / "counted").mkdir(parents=True)
    assert Side.of(build) == Side(kernels, packages)


def test_both_revisions_say_what_they_count():
    assert instructions.names(Side(Path("kernels"), ROOT)) == list(WORKLOADS)
    with pytest.raises(builds.BuildError, match="counted does not run"):
        instructions.names(Side(Path("kernels"), Path("nowhere")))


@pytest.fixture
def made_up(repository, monkeypatch):  # noqa: F811
    """A repository of two commits, whose builds are made up; returns what says how they count."""
    commit(repository, "# two")

    @contextmanager
    def built(root, revision, folder, *, head):
        yield builds.Build(revision, Path(sys.executable))

    monkeypatch.setattr(builds, "built", built)
    monkeypatch.setattr(instructions, "valgrind", lambda: "valgrind")
    monkeypatch.setattr(instructions, "release", lambda tool: "valgrind-3.19.0")
    monkeypatch.setattr(Side, "of", lambda build: Side(Path("kernels"), ROOT))

    def count(base, head):
        def counts(tool, sides, chosen, folder):
            assert {tuple(names) for names in chosen.values()} == {tuple(WORKLOADS)}
            return {"base": base, "head": head}

        monkeypatch.setattr(instructions, "count", counts)

    return count


def call(*arguments):
    return CliRunner().invoke(cli.app, ["check", "--instructions", *arguments])


def test_what_is_the_same_passes_and_is_kept(made_up):
    base = counts(a=(8, 1_234_567), old=(8, 1))
    made_up(base, counts(a=(8, 1_234_568), new=(8, 1)))
    done = call("--out", "out")
    assert done.exit_code == 0, done.output
    assert "does not execute more instructions than" in done.stdout
    assert "Not compared: new, old." in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("a "))
    assert row.split() == ["a", "1,234,567", "1,234,568", "1.0000", "same"]
    (kept,) = results.load_counts(Path("out"))
    assert (kept.tool, kept.findings[0].head) == ("valgrind-3.19.0", 1_234_568)


def test_what_executes_more_fails_and_is_named(made_up):
    made_up(counts(a=(8, 1000), b=(8, 1000)), counts(a=(8, 1030), b=(8, 1000)))
    done = call("--out", "out", "--markdown", "c.md")
    assert done.exit_code == 4
    assert "executes over 2% more instructions" in done.stdout
    text = Path("c.md").read_text()
    assert "### Instructions: **failed**" in text
    assert "| **a** | **1,000** | **1,030** | **1.0300** | **more** |" in text
    assert "| b |" not in text
    assert "1 of 2 workloads count alike" in text
    answer = json.loads(call("--out", "out", "--json").stdout)
    assert [f["verdict"] for f in answer["findings"]] == ["more", "same"]
    assert call("--out", "out", "--tolerance", "0.05").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "nothing"), "--only nothing: no such workload of --instructions: choose from"),
        (("--trip-wires",), "--instructions compares with a base"),
    ],
)
def test_wrong_input_is_one_message(arguments, message, made_up):
    done = call(*arguments)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


def changed(folder):
    """A copy of what calls the kernels, in which some products are computed twice."""
    packages = folder / "twice"
    place = packages / "sparsebench" / "regression"
    shutil.copytree(Path(counted.__file__).parent, place / "counted")
    (packages / "sparsebench" / "__init__.py").touch()
    (place / "__init__.py").touch()
    for name, after in TWICE.values():
        file = place / "counted" / name
        source = file.read_text("utf-8")
        assert source.count(after) == 1
        file.write_text(source.replace(after, f"{after}        work._calls *= 2\n"), "utf-8")
    return packages


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
@pytest.mark.skipif(
    library.kernels is None or ISA not in library.kernels.supported(),
    reason=f"needs the kernels for {ISA}",
)
def test_counts_repeat_and_a_loop_too_many_is_caught(tmp_path):
    kernels = Path(library.kernels.__file__)
    sides = {"base": Side(kernels, ROOT), "head": Side(kernels, changed(tmp_path))}
    chosen = dict.fromkeys(sides, (*ALIKE, *TWICE))
    found = instructions.count(instructions.valgrind(), sides, chosen, tmp_path)
    findings = {f.workload: f for f in instructions.judged(found["base"], found["head"])}
    assert {name: findings[name].ratio for name in ALIKE} == dict.fromkeys(ALIKE, 1)
    assert {findings[name].verdict for name in ALIKE} == {"same"}
    assert {findings[name].verdict for name in TWICE} == {"more"}
    assert [findings[name].ratio for name in TWICE] == [pytest.approx(2, rel=0.2)] * len(TWICE)
