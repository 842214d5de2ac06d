"""Tables of a sweep whose speed-ups and crossovers are known."""

import io
import re
from importlib import import_module

import pandas as pd
import pytest
from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.analysis.questions import pays
from sparsebench.views import tables
from sparsebench.views.tables import writers
from sparsebench.views.tables.by_machine import by_machine
from tests.sparsebench.factory import MACHINE, record, sweep

FAILED = record(
    None, implementation="peer|x", status="oom", message="asked for 3.2 GB,\n1.1 GB is free"
)


@pytest.fixture(scope="module")
def every():
    return points([*sweep(widths=(512, 1024), phases=("inference", "train_step")), FAILED])


@pytest.fixture(scope="module")
def made(every):
    return {table.name: table for table in tables.tables(every)}


def values(cells):
    """The cells without their intervals."""
    return [cell.split()[0] for cell in cells]


def shown(records, **options):
    console = Console(file=io.StringIO(), width=100, **options)
    console.print(tables.terminal(records))
    return console.file.getvalue()


def test_the_speedup_table_holds_the_known_ratios(made):
    frame = made["speedup"].text
    ours = frame[(frame.implementation == "ours") & (frame.batch == "128")]
    for cells in ours[["50%", "80%", "90%", "95%", "98%", "99%"]].to_numpy():
        assert values(cells) == ["1.0×", "2.5×", "5.0×", "10×", "25×", "50×"]
        assert all(re.fullmatch(r".*× \(.*–.*\)", cell) for cell in cells)
    numbers = made["speedup"].numbers.query("implementation == 'peer' and sparsity == 0.9")
    assert numbers.speedup.tolist() == pytest.approx([2.0] * len(numbers))
    assert (numbers["speedup low"] < numbers.speedup).all()


def test_the_summary_is_of_ours_alone(made):
    assert "implementation" not in made["summary"].text
    for row in made["summary"].text.to_dict("records"):
        assert values(row[s] for s in ("50%", "90%", "99%")) == ["1.0×", "5.0×", "50×"]
        assert row["faster than dense from"].startswith("50% (")
    assert len(made["summary"].numbers) == 2 * 2 * 2  # phases, batches, widths


def test_the_crossover_table_holds_the_known_crossovers(made):
    numbers = made["crossover"].numbers.groupby("implementation").crossover
    assert numbers.mean()["peer"] == pytest.approx(0.8)
    assert numbers.mean()["coo"] == pytest.approx(0.975)
    assert numbers.min()["masked"] == float("inf")
    text = made["crossover"].text.set_index("implementation")["faster than dense from"]
    assert set(text["masked"]) == {"never (≤ 99%)"}


def test_a_failed_case_is_a_row_that_says_why(made):
    for name in ("failures", "measurements", "speedup"):
        assert "oom" in writers.markdown(made[name])
        assert "oom" in writers.csv(made[name])
        assert "oom" in writers.latex(made[name])
    assert r"peer\|x" in writers.markdown(made["failures"])
    (row,) = made["failures"].text.to_dict("records")
    assert row["why"] == "asked for 3.2 GB, 1.1 GB is free"
    assert "1 oom" in made["league"].text.failures.tolist()


def test_csv_is_what_pandas_writes(made):
    odd = pd.DataFrame(
        {
            "text": ['a "b"', "c,d", "e\nf", ""],
            "some": [0.1, None, float("inf"), 1e-300],
            "whole": [1, 2, 3, 2**60],
            "mixed": [None, "x", 1.5, float("nan")],
            "sure": [True, False, True, True],
        }
    )
    every = [*made.values(), tables.Table("odd", "Odd", odd, odd)]
    for table in every:
        assert writers.csv(table) == table.numbers.to_csv(index=False, lineterminator="\n")


def test_csv_reads_back_with_one_row_per_record(made, every):
    frame = pd.read_csv(io.StringIO(writers.csv(made["measurements"])))
    assert len(frame) == len(every)
    assert frame["speedup [×]"].max() == pytest.approx(50.0)
    assert frame.status.value_counts()["oom"] == 1


def test_latex_has_no_character_that_it_cannot_set(made):
    for table in made.values():
        text = writers.latex(table)
        assert text.isascii()
        assert text.count(r"\begin{table}") == 1
        assert r"50\%" in text or table.name in ("league", "failures")


def test_what_all_rows_share_stands_above_the_table_once(made):
    text = writers.markdown(made["speedup"])
    assert text.count("Anvil 9000") == 1
    two = [record(1.0), record(1.0, machine={"id": "ffff", "cpu": {"model": "Bellows 1"}})]
    (memory,) = (t for t in tables.tables(points(two)) if t.name == "measurements")
    assert memory.text.machine.tolist() == ["Anvil 9000", "Bellows 1"]


@pytest.mark.parametrize("colour", [False, True])
def test_the_terminal_table_answers_and_fits_100_columns(colour, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = shown([*sweep(widths=(512, 4096)), FAILED], force_terminal=colour, no_color=not colour)
    assert ("\x1b[" in text) == colour
    if not colour:
        assert max(map(len, text.splitlines())) <= 100
        assert "50×" in text
        assert "oom: 1 case of peer|x: asked for 3.2 GB, 1.1 GB is free" in text
        assert "Anvil 9000" in text


def test_the_terminal_asks_once_which_points_are_layers_at_work(monkeypatch):
    """Not for each point anew: thousands of records would take hours."""
    module, asked = import_module("sparsebench.views.tables.terminal"), []
    monkeypatch.setattr(module, "pays", lambda every: asked.append(1) or pays(every))
    failed = [record(None, width=n, status="oom", message=f"{n} GB") for n in range(8, 20)]
    assert "oom: 1 case of ours: 19 GB" in shown([*sweep(widths=(512,)), *failed])
    assert len(asked) == 2


def test_the_terminal_shows_some_of_hundreds_of_layers_and_says_where_all_are(monkeypatch):
    module = import_module("sparsebench.views.tables.terminal")
    widths = [16 * n for n in range(1, 12)]
    records = sweep(widths=widths, batches=(1,), sparsities=(0.9, 0.99), phases=("inference",))
    assert "tables/speedup.csv" not in shown(records)
    monkeypatch.setattr(module, "_LAYERS", 10)
    text = shown(records)
    assert "6 of 11 layers: tables/speedup.csv has all" in text
    assert re.search(r"^ *1 +16 ours", text, re.MULTILINE)
    assert "176 ours" in text


def test_the_terminal_table_without_records_says_so():
    assert shown([]).strip() == "No records yet."


def test_the_terminal_table_without_ours_or_without_dense():
    others = [r for r in sweep(widths=(512,)) if r.case.implementation in ("dense", "coo")]
    assert "coo" in shown(others)
    assert "no dense" in shown([record(1.0, machine=MACHINE)])


def test_the_lead_is_over_the_fastest_of_the_other_sparse_ones(made):
    """A peer takes 2.5 times as long; masked and dense, though faster at 50%, are no peers."""
    text = made["lead"].text
    assert set(text["50%"]) == set(text["99%"]) == {"2.5× (2.4–2.6) peer"}
    assert len(text) == len(made["summary"].text) + len(text[text["phase"] == "forward_backward"])


def test_machines_are_put_side_by_side_where_there_are_several():
    other = {"id": "9f8e", "cpu": {"model": "Bellows 100"}}
    slow = [
        record(2e-3, width=512, implementation="ours", machine=other),
        record(4e-3, width=512, implementation="dense", machine=other),
    ]
    fast = [
        record(1e-3, width=512, implementation="ours"),
        record(3e-3, width=512, implementation="dense"),
        record(None, status="oom", width=512, implementation="masked"),
    ]
    made = by_machine(points(slow + fast))
    rows = {row["implementation"]: row for row in made.text.to_dict("records")}
    assert rows["ours"]["Anvil 9000"] == "1.00 ms, 3.0×"
    assert rows["ours"]["Bellows 100"] == "2.00 ms, 2.0×"
    assert rows["masked"]["Anvil 9000"] == "oom"
    assert rows["masked"]["Bellows 100"] == ""
    assert len(made.numbers) == 5
    assert by_machine(points(fast)).text.empty


def test_thousands_of_rows_are_written_as_csv_alone(tmp_path, monkeypatch):
    (table,) = (t for t in tables.tables(points(sweep())) if t.name == "measurements")
    assert len(tables.write(table, tmp_path)) == 3
    monkeypatch.setattr(writers, "_MOST", len(table.text) - 1)
    assert tables.write(table, tmp_path) == [tmp_path / "measurements.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["measurements.csv"]


def test_text_that_nobody_reads_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "_MOST", 1)
    made = {t.name: t for t in tables.tables(points(sweep(widths=(512,), batches=(1,))))}
    for name in ("measurements", "memory"):
        assert tables.write(made[name], tmp_path) == [tmp_path / f"{name}.csv"]
        assert not {"text", "caption"} & vars(made[name]).keys()
        assert len(made[name].text) == made[name].rows == len(made[name].numbers)
        assert made[name].caption
