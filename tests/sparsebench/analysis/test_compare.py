"""Two sets of records whose ratios are known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.analysis.compare import compare, verdict
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.points import points
from sparsebench.errors import InputError
from sparsebench.records import Round, Store
from tests.sparsebench.factory import MACHINE, record, sweep

OTHER = {"id": "beef", "cpu": {"model": "Bellows 7"}, "torch": {"version": "3.0"}}
SMALL = {"widths": (512,), "batches": (1,), "phases": ("inference",)}


def scaled(factor, **changes):
    """The sweep with `ours` slower by `factor`."""
    found = sweep(**SMALL, **changes)
    return [
        r.model_copy(update={"samples": [factor * s for s in r.samples]})
        if r.case.implementation == "ours"
        else r
        for r in found
    ]


@pytest.mark.parametrize(
    ("low", "value", "high", "expected"),
    [
        (1.06, 1.1, 1.2, "slower"),
        (1.04, 1.1, 1.2, "can't tell"),
        (0.8, 0.9, 0.95, "faster"),
        (0.8, 0.9, 0.96, "can't tell"),
        (0.96, 1.0, 1.04, "same"),
        (0.9, 1.0, 1.2, "can't tell"),
    ],
)
def test_a_verdict_is_that_of_the_whole_interval(low, value, high, expected):
    assert verdict(Estimate(value, low, high), 0.05) == expected


def test_a_known_slowdown_is_found_and_nothing_else():
    found = compare(points(sweep(**SMALL)), points(scaled(1.3)), tolerance=0.1)
    for pair in found.pairs:
        expected = ("slower", 1.3) if pair.a.case.implementation == "ours" else ("same", 1.0)
        assert (pair.verdict, pytest.approx(pair.ratio[0])) == expected
        assert pair.estimate.low < pair.ratio[0] < pair.estimate.high
    assert found.means()["ours"].value == pytest.approx(1.3)
    assert found.means()["peer"].value == pytest.approx(1.0)
    assert (found.only_a, found.only_b, found.untimed, found.differences) == ([], [], [], [])


def test_both_sides_scatter_independently():
    """Two means of n rounds each: the ratio's variance is the sum of theirs."""
    noisy = points([record(1.0, count=101, noise=0.02 * np.sqrt(3))])  # uniform: a deviation of 2%
    (pair,) = compare(noisy, noisy).pairs
    half = (np.log(pair.estimate.high) - np.log(pair.estimate.low)) / 2
    assert half == pytest.approx(1.98 * np.sqrt(2) * 0.02 / np.sqrt(101), rel=0.1)


def test_two_processes_decide_nothing_and_it_says_so(call, tmp_path):
    few = [
        r.model_copy(update={"rounds": [Round(samples=5), Round(samples=4)]}) for r in scaled(3.0)
    ]
    found = compare(points(sweep(**SMALL)), points(few))
    assert found.counts == {"can't tell": 30}
    assert found.unsure == 30
    with Store(tmp_path / "few") as store:
        for each in few:
            store.append(each)
    done = call("a", "few", "--fail-on", "slower")
    assert done.exit_code == 0
    assert "30 cannot be told because a side has fewer than 3 processes" in done.output
    answer = json.loads(call("a", "few", "--json").stdout)
    assert {c["ratio"]["low"] for c in answer["cases"]} == {None}


def test_what_other_work_disturbed_decides_nothing():
    """Three times as slow in B, where something else ran in every round of `ours`."""
    found = [
        r.model_copy(update={"rounds": [replace(t, disturbed="busy") for t in r.rounds]})
        if r.case.implementation == "ours"
        else r
        for r in scaled(3.0)
    ]
    result = compare(points(sweep(**SMALL)), points(found))
    ours = [p for p in result.pairs if p.a.case.implementation == "ours"]
    assert {p.verdict for p in ours} == {"can't tell"}
    assert (result.disturbed, result.unsure) == (len(ours), 0)
    assert "ours" not in result.means()


def test_what_has_no_partner_or_no_time_is_counted():
    a, b = sweep(**SMALL), sweep(**SMALL | {"batches": (1, 7)})
    b[0] = record(None, **{"implementation": "dense", "width": 512, "sparsity": 0.5, "batch": 1,
                           "phase": "inference"})  # fmt: skip
    found = compare(points(a), points(b))
    assert len(found.untimed) == 1
    assert len(found.only_b) == len(a)
    assert len(found.pairs) == len(a) - 1


def test_different_machines_are_refused_with_what_differs():
    a, b = points(sweep(**SMALL)), points(scaled(2.0, machine=OTHER))
    with pytest.raises(InputError, match=r"cpu.model: Anvil 9000 against Bellows 7.*--across"):
        compare(a, b)
    found = compare(a, b, across_machines=True)
    assert ("torch.version", "nothing", "3.0") in found.differences
    assert found.means()["ours"].value == pytest.approx(2.0)
    with pytest.raises(InputError, match=r"B has records of 2 machines \(0a1b, beef\)"):
        compare(a, points([*sweep(**SMALL), *scaled(2.0, machine=OTHER)]), across_machines=True)


def test_machines_are_never_mixed():
    both = [*sweep(**SMALL), *scaled(1.0, machine=OTHER)]
    slow = [*sweep(**SMALL), *scaled(3.0, machine=OTHER)]
    found = compare(points(both), points(slow))
    changed = {p.a.machine for p in found.pairs if p.verdict == "slower"}
    assert changed == {"Bellows 7"}
    assert all(p.a.machine == p.b.machine for p in found.pairs)


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match="no case is in both sets"):
        compare(points(sweep(**SMALL)), points(sweep(**SMALL | {"widths": (64,)})))


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new = MACHINE | {"torch": {"version": "2.15"}}
    for name, found in {
        "a": sweep(**SMALL), "b": scaled(1.3, machine=new), "c": scaled(1.0, machine=OTHER)
    }.items():  # fmt: skip
        with Store(Path(name)) as store:
            for each in found:
                store.append(each)

    def call(*arguments):
        # Errors reach main(), which turns them into a message and an exit code.
        return CliRunner().invoke(cli.app, ["compare", *arguments])

    return call


def test_the_command_prints_writes_and_fails_when_asked(call):
    done = call("a", "b", "--out", "out")
    assert done.exit_code == 0
    assert "torch.version: nothing → 2.15" in done.output
    assert "6 slower" in done.output
    assert "ours: 1.30 (" in done.output
    assert {p.name for p in Path("out").iterdir()} == {
        f"comparison.{e}" for e in ("md", "csv", "tex", "png", "svg")
    }
    assert Path("out/comparison.csv").read_text().count(",slower") == 6
    assert call("a", "b", "--fail-on", "slower").exit_code == 4
    assert call("a", "b", "--fail-on", "faster").exit_code == 0
    assert call("b", "a", "--fail-on", "faster").exit_code == 4


def test_json_holds_every_ratio(call):
    answer = json.loads(call("a", "b", "--json", "--tolerance", "0.1").stdout)
    assert answer["counts"] == {"same": 24, "slower": 6}
    assert len(answer["cases"]) == 30
    ours = [c for c in answer["cases"] if c["case"]["implementation"] == "ours"]
    assert all(c["ratio"]["value"] == pytest.approx(1.3) for c in ours)
    assert answer["differences"] == [{"what": "torch.version", "a": "nothing", "b": "2.15"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "nowhere"), "nowhere: no such file or folder"),
        (("a", "."), None),
        (("a", "c"), "no machine is in both sets"),
        (("a", "b", "--fail-on", "worse"), "choose from faster, slower, same, can't tell"),
    ],
)
def test_wrong_input_is_one_message(arguments, message, call):
    done = call(*arguments)
    if message is None:
        assert done.exit_code == 0
    else:
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)
