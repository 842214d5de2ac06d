"""The static site: complete, offline, and every figure with its records."""

import gzip
import json
import re

import pytest

from sparsebench import cli
from sparsebench.analysis.points import points
from sparsebench.analysis.states import states
from sparsebench.errors import InputError
from sparsebench.regression.results import Check, Checks, Commit, Finding
from sparsebench.views.tables.ours_by_machine import ours_by_machine
from tests.sparsebench.factory import MACHINE, record, sweep
from tests.sparsebench.views.test_page import HOSTILE, _Tags, write

OTHER = {"id": "beef", "cpu": {"model": HOSTILE}}
SMALL = {"widths": (512,), "batches": (1,), "sparsities": (0.9,), "phases": ("inference",)}


def finding():
    return Finding(
        workload="training", measure="time", base=[1.0], head=[1.1], verdict="slower",
        ratio={"value": 1.1, "low": 1.05, "high": 1.2},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    write(root / "in" / "one" / "mine", sweep(**SMALL, implementations=("dense", "ours")))
    write(root / "in" / "two" / "mine", sweep(**SMALL, machine=OTHER))
    checked = Check(
        started="2026-01-01", wall_s=1, settings={}, tolerance=0.1,
        base=Commit(commit="a", date=""), head=Commit(commit="b", date=""),
        findings=[finding()], machine=MACHINE,
    )  # fmt: skip
    with Checks(root / "in" / "check") as store:
        store.append(checked)
    arguments = [str(root / "site"), str(root / "in")]
    cli.command("site").main(arguments, standalone_mode=False)
    return root / "site"


def test_pages_need_nothing_but_each_other(site):
    names = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {"index.html", "mine.html", "checks.html"} <= names
    for page in site.glob("*.html"):
        tags = _Tags(page.read_text("utf-8"))
        assert tags.open == []
        assert tags.tags.count("script") == 1
        for address in tags.addresses:
            assert address.startswith(("#", "data:")) or address in names, address
    assert sum(path.stat().st_size for path in site.rglob("*")) < 2_000_000


def test_the_records_that_pages_are_made_of_are_there(site):
    (page,) = site.glob("mine.html")
    addresses = re.findall(r'href="(records/mine-[^"]*)"', page.read_text("utf-8"))
    assert len(addresses) == 2
    lines = [gzip.decompress((site / address).read_bytes()).splitlines() for address in addresses]
    machines = {json.loads(line)["machine"]["id"] for each in lines for line in each}
    assert machines == {MACHINE["id"], "beef"}


def test_the_first_page_has_the_explorer_leagues_machines_and_history(site):
    tags = _Tags((site / "index.html").read_text("utf-8"))
    text = " ".join(" ".join(tags.text).split())
    for words in ("What is fastest?", "Leagues", "Machines side by side", "History", "Anvil 9000"):
        assert words in text
    (explored,) = (data for data in tags.data if "problems" in data)
    assert len(explored["problems"]) == 2
    tables = [data for data in tags.data if "columns" in data]
    assert {"wins", "ties", "time over best"} <= set(tables[0]["columns"])
    assert {"Anvil 9000, 2 threads", f"{HOSTILE}, 2 threads"} <= set(tables[1]["columns"])
    assert any(HOSTILE in piece for piece in tags.text)


def test_layers_that_two_machines_measured_stand_side_by_side():
    slower = sweep(**SMALL, machine=OTHER)
    alone = sweep(**SMALL | {"widths": (1024,)})
    table = ours_by_machine(points([*sweep(**SMALL), *slower, *alone]))
    assert list(table.text["size"]) == ["512"]
    assert set(table.numbers["where"]) == {"Anvil 9000, 2 threads", f"{HOSTILE}, 2 threads"}
    assert all(value > 1 for value in table.numbers["speedup"])


def test_states_compare_with_the_newest():
    def of(seconds, commit, started, **changes):
        machine = MACHINE | {"sparsebench": {"commit": commit}, "torch": {"version": "2"}}
        return record(seconds, machine=machine, started=started, **changes)

    found = states([
        of(2.0, "a", "2026-01-01"), of(4.0, "a", "2026-01-02", sparsity=0.5),
        of(1.0, "b", "2026-02-01"), of(None, "b", "2026-02-02", sparsity=0.5),
    ])  # fmt: skip
    assert [(s.commit, s.first, s.last, s.records, s.shared) for s in found] == [
        ("a", "2026-01-01", "2026-01-02", 2, 1), ("b", "2026-02-01", "2026-02-02", 2, 0),
    ]  # fmt: skip
    assert found[0].over_newest == pytest.approx(2.0)
    assert found[1].over_newest is None


def test_what_cannot_be_a_site_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([tmp_path / "site", tmp_path / "nothing"], "no such file or folder"),
        ([tmp_path / "site", tmp_path / "empty"], "no records there"),
        ([tmp_path / "file", tmp_path / "empty"], "is a file"),
    ):
        with pytest.raises(InputError, match=message):
            cli.command("site").main([*map(str, arguments)], standalone_mode=False)
    assert not (tmp_path / "site").exists()
