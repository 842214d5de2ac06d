"""The command: what it measures, refuses and prints."""

import itertools
import json
import re
import signal
import sys
import warnings
from pathlib import Path

import pytest

from sparsebench import cli, interruption, records
from sparsebench.campaign.here import Here
from sparsebench.cases import sweep
from sparsebench.cluster import connection
from sparsebench.commands import report
from sparsebench.commands import run as run_command
from sparsebench.measuring import isolation, machine, roofline, runner, software
from sparsebench.measuring.timing import Times
from sparsebench.measuring.worker import Outcome
from sparsebench.records import Record
from sparselayers.backends import BACKENDS

SWEEP = """\
rounds = 1
sample_s = 0.001
[grid]
implementation = ["dense", "ours"]
width = [8, 16]
sparsity = [0.5, 0.9]
batch = 4
phase = "inference"
"""


def _show(found, folder, *, of=None):
    if of is None:
        print(f"{len(found)} records shown")
    else:
        report.print_json([r for r in found if r.case in of])


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    for command in (report, run_command):
        monkeypatch.setattr(command, "show", _show)
    monkeypatch.setattr(interruption, "raise_on_signals", lambda: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command changes it
    (tmp_path / "mine.toml").write_text(SWEEP)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sparsebench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    return call


@pytest.fixture
def measured(monkeypatch):
    """The cases for which a time was taken, instead of taking one."""
    cases = []

    def answer(function, *args, **options):
        if function is roofline.probe:
            return {"matmul_gflops": 1.0}
        if function is runner.worker.measure and args[-1] is None:
            cases.append(args[0])
        return Outcome("ok", times=Times([1e-3], 1))

    monkeypatch.setattr(isolation, "call", answer)
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    return cases


def load():
    return records.load(Path("results/mine"))


def test_a_run_measures_and_a_second_one_only_what_is_missing(call, measured):
    code, out, _ = call("run", "mine.toml", "--filter", "sparsity=0.9")
    assert code == 0
    assert "4 records shown" in out
    assert len(measured) == 4
    code, out, _ = call("run", "mine.toml")
    assert "4 of 8 cases have a record" in out
    assert {case.sparsity for case in measured[4:]} == {0.5}
    assert len(load()) == len(measured) == 8
    assert load()[0].machine["roofline"] == {"matmul_gflops": 1.0}
    assert load()[0].machine["id"] == machine.fingerprint()["id"]


def test_every_command_that_prints_a_table_has_json():
    commands = {name: cli.command(name) for name in cli.COMMANDS}
    without = {n for n, c in commands.items() if not any("--json" in p.opts for p in c.params)}
    assert without == {"contribute", "export", "site"}  # which write files, and print a line


def test_json_has_the_output_to_itself(call, measured):
    code, out, err = call("run", "mine.toml", "--json", "--filter", "sparsity=0.9")
    assert code == 0
    rows = json.loads(out)
    assert {(r["implementation"], r["in_features"]) for r in rows} == {
        (name, width) for name in ("dense", "ours") for width in (8, 16)
    }
    assert {r["time [s]"] for r in rows} == {1e-3}
    assert "4/4" in err
    assert len(json.loads(call("run", "mine.toml", "--json", "-f", "width=8")[1])) == 4
    assert json.loads(call("run", "mine.toml", "--json", "--budget", "0", "--out", "x")[1]) == []
    listed = json.loads(call("run", "mine.toml", "--dry-run", "--json")[1])
    assert len(listed) == 8
    assert all(each["seconds"] > 0 and each["refusal"] is None for each in listed)


def test_fresh_starts_over_with_what_is_asked_for(call, measured):
    call("run", "mine.toml")
    call("run", "mine.toml", "--fresh", "-f", "implementation=ours", "-f", "width>8")
    assert len(measured) == 8 + 2
    assert len(load()) == 8
    assert len({record.run["id"] for record in load()}) <= 2


def test_records_of_another_machine_do_not_count(call, measured):
    call("run", "mine.toml")
    path = Path("results/mine/records.jsonl")
    path.write_text(path.read_text().replace(machine.fingerprint()["id"], "another"))
    call("run", "mine.toml")
    assert len(measured) == len(load()) == 16


def _with_torch(version, of="records.jsonl"):
    """Let the records of `mine` have been measured with another torch."""
    path = Path("results/mine") / of
    mine = machine.fingerprint()["software"]["torch"]
    path.write_text(path.read_text().replace(f'"torch":"{mine}"', f'"torch":"{version}"'))


def test_records_of_other_software_are_named_and_kept(call, measured):
    call("run", "mine.toml")
    _with_torch("1.0 blas")
    code, out, _ = call("run", "mine.toml")
    assert code == 0
    assert "8 of 8 cases have a record" in out
    assert "8 of these records are of other software (torch 1.0 blas → " in out
    assert "--stale measures their cases anew" in out
    assert len(measured) == 8
    call("run", "mine.toml", "--stale", "-f", "width=8")
    assert len(measured) == 12
    assert len(load()) == 12  # the old ones are kept beside the new ones
    _, out, _ = call("run", "mine.toml")
    assert "4 of these records are of other software" in out
    assert len(measured) == 12


def test_what_is_measured_beside_other_software_is_measured_whole(call, measured):
    """A ratio within one software needs both sides in it."""
    call("run", "mine.toml", "-f", "implementation=dense")
    _with_torch("1.0 blas")
    call("run", "mine.toml", "-f", "width=8")
    assert [case.implementation for case in measured[4:]].count("dense") == 2
    assert len(measured) == 4 + 4


def test_an_implementation_that_changed_is_stale_alone(call, measured, monkeypatch):
    call("run", "mine.toml")
    original = software.of

    def changed(case, found):
        own = {"implementation": "new"} if case.implementation == "ours" else {}
        return original(case, found) | own

    monkeypatch.setattr(software, "of", changed)
    _, out, _ = call("run", "mine.toml")
    assert "4 of these records are of other software (implementation " in out
    call("run", "mine.toml", "--stale")
    assert len(measured) == 16  # with their rivals


def test_fresh_never_loses_a_record(call, measured, monkeypatch):
    """However often it is interrupted, and whatever was measured between."""
    call("run", "mine.toml")
    first = Path("results/mine/records.jsonl").read_text().splitlines()
    answer = isolation.call
    for _ in range(2):
        turns = itertools.count(1)

        def interrupted(function, *args, turns=turns, **options):
            if function is runner.worker.measure and next(turns) == 7:
                raise interruption.Interrupted(signal.SIGINT)
            return answer(function, *args, **options)

        monkeypatch.setattr(isolation, "call", interrupted)
        assert call("run", "mine.toml", "--fresh")[0] == 130
        monkeypatch.setattr(isolation, "call", answer)
    everything = [
        line
        for path in Path("results/mine").glob("records.jsonl*")
        for line in path.read_text().splitlines()
    ]
    assert set(first) <= set(everything)
    assert len(everything) > len(first) + 2
    call("run", "mine.toml")
    assert len(load()) == 8


@pytest.mark.parametrize(("status", "again"), [("timeout", True), ("ok", False)])
def test_failures_are_retried_when_asked(status, again, call, measured):
    call("run", "mine.toml")
    path = Path("results/mine/records.jsonl")
    path.write_text(path.read_text().replace('"status":"ok"', f'"status":"{status}"'))
    call("run", "mine.toml")
    assert len(measured) == 8
    call("run", "mine.toml", "--retry-failed")
    assert len(measured) == (16 if again else 8)


def test_what_was_refused_is_measured_once_it_can_be(call, measured, monkeypatch):
    monkeypatch.setattr(runner, "refusal", lambda case: "not yet")
    call("run", "mine.toml")
    assert {(r.status, r.message) for r in load()} == {("unsupported", "not yet")}
    monkeypatch.undo()


def test_a_refused_case_is_pending_as_soon_as_nothing_speaks_against_it():
    case = sweep.load("smoke").cases(["cpu"], [1])[0]
    refused = Record(case=case, status="unsupported", message="no memory")
    late = refused.model_copy(update={"status": "timeout"})
    assert Here().pending([case], {case: refused}, False)
    assert not Here().pending([case], {case: late}, False)


def test_a_dry_run_lists_and_estimates_and_writes_nothing(call, measured):
    code, out, _ = call("run", "mine.toml", "--dry-run")
    assert code == 0
    assert out.count("inference") == 8
    # The start, which takes longer than these eight, is part of it, and so are disturbed cases.
    (seconds,) = re.findall(r"8 cases, about 0:(\d\d) on a quiet machine; cases that other", out)
    assert 7 < int(seconds) < 15
    assert "disturbs take up to 0:10 more" in out
    assert not measured
    assert not Path("results").exists()


def test_the_budget_leaves_the_rest_for_later(call, measured):
    code, out, _ = call("run", "mine.toml", "--budget", "0")
    assert code == 0
    assert "8 of 8 cases are left" in out
    call("run", "mine.toml", "--budget", "10")
    assert len(load()) == 8


def test_an_interruption_while_tables_are_drawn_says_so(call, measured, monkeypatch):
    def interrupted(found, folder, **options):
        raise interruption.Interrupted(signal.SIGINT)

    monkeypatch.setattr(run_command, "show", interrupted)
    code, _, errors = call("run", "mine.toml")
    assert code == 130
    assert "all records are in results/mine" in errors
    assert "sparsebench report results/mine" in errors
    assert len(load()) == 8


def test_a_busy_machine_is_a_warning(call, measured, monkeypatch):
    monkeypatch.setattr(machine, "busy", lambda: 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, _, err = call("run", "mine.toml")
    assert "warning: other programs take 50% of the CPU" in err
    assert len(load()) == 8


def test_options_say_where_and_how(call, measured):
    call("run", "mine.toml", "--threads", "1", "--seed", "5", "--device", "cpu", "--out", "there")
    assert {(case.threads, case.seed, case.device) for case in measured} == {(1, 5, "cpu")}
    (first, *_) = records.load(Path("there"))
    assert first.run["seed"] == 5


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("run", "nothing"), ("no sweep 'nothing'", "default")),
        (("run", "bad.toml"), ("bad.toml, line 6: grid.sparsity[0] = 2", "less than 1")),
        (("run", "mine.toml", "-f", "size=3"), ("no field 'size'", "width")),
        (("run", "mine.toml", "-f", "width=3"), ("no case of mine.toml", "width=3")),
        (("run", "mine.toml", "--device", "tpu"), ("--device tpu", "cpu")),
        (
            ("run", "blocks.toml"),
            (
                "blocks.toml: topology blocks-32x32 has no connections for any of the layers",
                "(16, 16): its 16 outputs are no multiple of 32; allowed are 1, 2, 4, 8, 16",
                "topology 2:4 has no connections",
                "--filter 'topology!=2:4'",
            ),
        ),
        (("run", "blocks.toml", "--dry-run"), ("blocks.toml: topology blocks-32x32",)),
        (("run", "mine.toml", "--threads", "0"), ("--threads",)),
        (("report", "nowhere"), ("nowhere", "no such")),
        (("report", "."), (".", "no records.jsonl")),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(arguments, parts, call, measured):
    Path("bad.toml").write_text(SWEEP.replace("[0.5, 0.9]", "[2, 0.9]"))
    kinds = 'topology = ["random", "blocks-8x1", "blocks-32x32", "2:4"]\n'
    Path("blocks.toml").write_text(SWEEP.replace("[0.5, 0.9]", "0.9") + kinds)
    code, _, err = call(*arguments)
    assert code == 2
    for part in parts:
        assert part in err
    assert not measured
    assert not Path("results").exists()


def test_a_topology_that_some_layers_have_and_what_an_implementation_lacks_stay_rows(
    call, monkeypatch
):
    """Blocks that divide one width of two; an implementation without a type, whatever the layer."""
    text = SWEEP.replace('["dense", "ours"]', '["dense", "torch_csr"]').replace(
        "[8, 16]", "[8, 12]"
    )
    Path("mine.toml").write_text(text + 'topology = "blocks-8x1"\ndtype = "bfloat16"\n')
    asked = []

    def answer(function, *args, **options):
        asked.append(args[:1])
        if function is runner.worker.prepare and args[0].out_features == 12:
            return Outcome("unsupported", "blocks")
        return Outcome("ok", times=Times([1e-3], 1))

    monkeypatch.setattr(isolation, "call", answer)
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    code, _, _ = call("run", "mine.toml")
    assert code == 0
    assert {(r.case.implementation, r.case.out_features, r.status) for r in load()} == {
        ("dense", 8, "ok"),
        ("dense", 12, "unsupported"),
        ("torch_csr", 8, "unsupported"),
        ("torch_csr", 12, "unsupported"),
    }


def test_two_runs_into_one_folder_are_refused(call, measured):
    with records.Store(Path("results/mine")):
        code, _, err = call("run", "mine.toml")
    assert code == 1
    assert "another run is writing here" in err
    assert not measured


def test_report_reads_every_file_below_a_folder(call, measured):
    call("run", "mine.toml", "--out", "results/a")
    call("run", "mine.toml", "--out", "results/b")
    measured.clear()
    code, out, _ = call("report", "results")
    assert code == 0
    assert out.count("8 records shown") == 2
    assert not measured


def test_list_names_what_there_is(call):
    code, out, _ = call("list")
    assert "…" not in out  # long names are never cut
    assert code == 0
    for word in ("torch_csr", "smoke", "headline", "speedup", "SparseLinear", "small_world"):
        assert word in out


def test_env_says_which_kernels_run(call):
    code, out, _ = call("env")
    assert code == 0
    assert "backend reference: available" in out
    assert "float32 on the CPU runs on: " in out
    assert machine.fingerprint()["id"] in out


def test_missing_kernels_are_said_once(call, monkeypatch):
    native = type(BACKENDS["native"])
    monkeypatch.setattr(native, "unavailable", lambda self: "no compiler; install one")
    _, _, err = call("list")
    assert err.count("fast kernels are missing") == 1


def test_an_instruction_set_that_cannot_run_is_wrong_input(call, monkeypatch):
    if BACKENDS["native"].unavailable():
        pytest.skip("kernels were not built")
    monkeypatch.setenv("SPARSEBENCH_ISA", "abacus")
    code, _, err = call("env")
    assert code == 2
    assert "SPARSEBENCH_ISA=abacus" in err


def test_help_tells_the_exit_codes(call):
    code, out, _ = call("--help")
    assert code == 0
    assert "130" in out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--on", "scheduler"], 2, "--on scheduler: no address of a cluster: write tcp://HOST"),
        (["--on", "tcp://scheduler:0"], 2, "a port is a number from 1 to 65535, got 0"),
        (["--on", "local:2", "--tls-cert", "mine.toml"], 2, "TLS needs all three"),
        (["--on", "tcp://127.0.0.1:1", "--timeout", "0.3"], 3, "at tcp://127.0.0.1:1 within 0.3 s"),
    ],
)
def test_a_cluster_that_cannot_be_had_says_why(options, code, message, call, measured):
    pytest.importorskip("distributed")
    ended, _, err = call("run", "mine.toml", *options)
    assert ended == code
    assert message in err
    assert not measured
    assert not Path("results").exists()


def test_a_cluster_needs_dask(call, monkeypatch):
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    code, _, err = call("run", "mine.toml", "--on", "local:1")
    assert code == 2
    assert "pip install distributed" in err


def test_a_dry_run_starts_no_cluster(call, measured):
    code, out, _ = call("run", "mine.toml", "--dry-run", "--on", "tcp://127.0.0.1:1")
    assert code == 0
    assert "8 cases" in out
