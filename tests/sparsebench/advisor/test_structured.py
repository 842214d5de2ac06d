"""Advice about structures: times that follow known laws, accuracies from lines of training."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sparsebench
from sparsebench import advisor, cli
from sparsebench.advisor import accuracies, on_the_spot, structured
from sparsebench.cases.topologies.structured import STRUCTURED
from sparsebench.commands.advise import structures as told
from sparsebench.errors import InputError
from sparsebench.measuring import machine
from sparsebench.records import Store, load
from tests.sparsebench.factory import MACHINE, never_disturbed, record, sweep

# How many times as fast as unstructured connections.
FASTER = {"blocks-4x1": 1.5, "blocks-8x1": 2.3, "blocks-16x1": 2.5, "fan-in": 0.9}


def records(factors=FASTER):
    kinds = {"widths": (1024,), "batches": (64,), "phases": ("inference",)}
    kinds |= {"sparsities": (0.9,), "implementations": ("dense", "ours")}
    found = sweep(**kinds)
    for topology, factor in factors.items():
        for each in sweep(**kinds, topology=topology):
            quick = factor if each.case.implementation == "ours" else 1.0
            samples = [sample / quick for sample in each.samples]
            found.append(each.model_copy(update={"samples": samples}))
    return found


def line(structure, accuracy, *, sparsity=0.9, rewiring="none", dataset="mnist", **others):
    setting = {"experiment": "structures-mnist", "dataset": dataset, "model": "sparse",
               "sparsity": sparsity, "rewiring": rewiring, "structure": structure}  # fmt: skip
    return json.dumps(
        {"setting": setting, "epochs": [{"accuracy": 0.1}, {"accuracy": accuracy}]} | others
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = MACHINE | {"id": machine.fingerprint()["id"]}
    with Store(Path("results/mine")) as store:
        for each in records():
            store.append(each.model_copy(update={"machine": own}))
    return tmp_path


def advise(structure="any", **changes):
    asked = {"sparsity": 0.9, "batch": 64, "threads": 2, "structure": structure}
    return sparsebench.advise(1024, 1024, **asked | changes, measure_now=False)


def trained(folder, *lines):
    (folder / "results" / "trained").mkdir(parents=True, exist_ok=True)
    (folder / "results" / "trained" / "training.jsonl").write_text("\n".join(lines))


def test_structures_are_compared_with_unstructured_connections(here, monkeypatch):
    monkeypatch.setattr(structured, "STRUCTURED", {t: STRUCTURED[t] for t in FASTER})
    advice = advise()
    assert [c.structure for c in advice.candidates] == [
        "16x1", "8x1", "4x1", "unstructured", "fan-in",
    ]  # fmt: skip
    eight = advice.candidates[1]
    assert eight.over_unstructured.value == pytest.approx(2.3)
    assert eight.speedup.value == pytest.approx(2.3 * 5)
    assert eight.over_unstructured.low < 2.3 < eight.over_unstructured.high
    assert advice.source == "from records of this machine"
    assert {c.on_front for c in advice.candidates} == {None}
    (sentence,) = told.sentences(advice)
    assert sentence.startswith("16x1 is 2.5× (")
    assert sentence.endswith("as fast as unstructured here; no records say what it costs in "
                             "accuracy.")  # fmt: skip


def test_the_front_is_what_nothing_beats_in_time_and_accuracy(here, monkeypatch):
    monkeypatch.setattr(structured, "STRUCTURED", {t: STRUCTURED[t] for t in FASTER})
    trained(
        here,
        line("unstructured", 0.980), line("unstructured", 0.982),
        line("8x1", 0.980),
        line("16x1", 0.970), line("4x1", 0.975), line("fan-in", 0.981),
        line("16x1", 0.999, dataset="mnist-subset"),  # a part of the data
        line("4x1", 0.999, status="diverged"),
        '{"setting": {"experiment": "structures-mnist"',  # cut off
    )  # fmt: skip
    advice = advise()
    found = {c.structure: c for c in advice.candidates}
    assert found["8x1"].accuracy[0].points == pytest.approx(0.1)
    assert [c.structure for c in advice.candidates if c.on_front] == ["16x1", "8x1", "unstructured"]
    first, second = told.sentences(advice)
    assert "and costs 1.1 points on mnist (90%, static, 1 seed)." in first
    assert second.startswith("8x1 is 2.3×")
    assert "and costs 0.1 points on mnist" in second
    command = ["advise", "--in", "1024", "--out", "1024", "--batch", "64", "--sparsity", "0.9"]
    command += ["--threads", "2", "--structure", "any"]
    shown = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "8x1 is 2.3×" in shown.output
    assert "-1.10 on mnist (90%, static, 1 seed)" in shown.output
    assert "Source: from records of this machine." in shown.output
    answer = json.loads(CliRunner().invoke(cli.app, [*command, "--json"]).stdout)
    assert answer["candidates"][0]["structure"] == "16x1"
    assert answer["candidates"][1]["accuracy"][0]["dataset"] == "mnist"


def test_costs_are_those_of_the_nearest_sparsity_and_of_rewired_connections():
    known = {
        ("mnist", "none", "unstructured", 0.9): [98.0],
        ("mnist", "none", "8x1", 0.9): [97.0],
        ("mnist", "rigl", "unstructured", 0.95): [98.0, 98.2],
        ("mnist", "rigl", "8x1", 0.95): [98.4],
        ("fashion", "none", "unstructured", 0.5): [90.0],
        ("fashion", "none", "8x1", 0.5): [89.0],
        ("other", "none", "8x1", 0.9): [89.0],  # nothing to compare with
    }
    (cost,) = accuracies.costs(known, "8x1", 0.94)
    assert (cost.points, cost.sparsity, cost.rewiring) == (pytest.approx(-0.3), 0.95, "rigl")
    (cost,) = accuracies.costs(known, "8x1", 0.9)  # half as many are too few
    assert (cost.points, cost.rewiring) == (pytest.approx(1.0), "none")
    assert accuracies.costs(known, "8x1", 0.99) == []


def test_what_does_not_fit_is_left_out_and_says_why(here):
    advice = advise()
    assert advice is None  # of 16x16 there is no record
    advice = advise("8x1")
    assert [c.structure for c in advice.candidates] == ["8x1", "unstructured"]
    _, left_out = structured._fitting(advice.question, "any")
    assert left_out["2:4"].startswith("2:4 has a sparsity of 0.5")
    with pytest.raises(InputError, match=r"structure 2:4: 2:4 has a sparsity of 0\.5"):
        advise("2:4")
    with pytest.raises(InputError, match="structure must be any or one of 4x1, 8x1"):
        advise("9x1")


def test_what_no_record_covers_is_measured_beside_dense(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    never_disturbed(monkeypatch)
    monkeypatch.setattr(on_the_spot, "EACH_S", 300.0)  # however busy this machine is
    asked = {"sparsity": 0.75, "batch": 4, "structure": "8x1"}
    advice = sparsebench.advise(96, 64, **asked)
    found = load(Path("results/advise"))
    assert {(r.case.implementation, r.case.topology) for r in found} == {
        (name, topology) for name in ("dense", "ours") for topology in ("random", "blocks-8x1")
    }
    assert all(r.status == "ok" for r in found)
    assert {c.structure for c in advice.candidates} == {"8x1", "unstructured"}
    assert advice.source == "measured now"
    monkeypatch.setattr(structured, "measure_each", lambda *_, **__: pytest.fail("again"))
    assert sparsebench.advise(96, 64, **asked).candidates == advice.candidates
    assert record(1.0).case.topology == "random"
    assert advisor.ANY == "any"
