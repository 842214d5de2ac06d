"""What is given away is valid, says nothing private, and is found again."""

import json
import platform

import pytest

from sparsebench import cli, records
from sparsebench.analysis.points import points
from sparsebench.errors import InputError
from sparsebench.records import Round, contribution
from tests.sparsebench.factory import record

MACHINE = {
    "id": "0a1b", "cpu": {"model": "Anvil(R) 9000", "cores": 4, "serial": "S3CR3T"},
    "sparsebench": {"version": "0.1.0", "commit": "abc", "modified": True, "branch": "mine"},
    "hostname": "secret-host", "os": "Linux 6.1",
}  # fmt: skip


def private(**changes):
    return record(
        1e-3, machine=MACHINE, **changes,
        run={"id": "r", "seed": 0, "rounds": 9, "host": "5ecre7", "cwd": "/home/ada/work"},
    )  # fmt: skip


def written(folder, found):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "records.jsonl"
    path.write_text("".join(one.model_dump_json() + "\n" for one in found))
    return path


def contribute(*arguments):
    cli.command("contribute").main([*map(str, arguments)], standalone_mode=False)


def test_what_is_private_stays_here(tmp_path, capsys):
    failed = record(
        None, machine=MACHINE, sparsity=0.5,
        message=f"File '/home/ada/my project/x.py' on {platform.node()}: 3 / 4 and 1/2 of it",
    )  # fmt: skip
    turn = Round(samples=1, conditions={"load": 1.0, "processes": "firefox"})
    noisy = private(sparsity=0.8).model_copy(update={"rounds": [turn] * 9})
    written(tmp_path / "ada", [private(), failed, noisy])
    contribute(tmp_path / "ada", "--out", tmp_path / "out")
    (file,) = (tmp_path / "out").iterdir()
    text = file.read_text()
    for secret in ("S3CR3T", "secret-host", "5ecre7", "ada", "mine", "modified", "firefox"):
        assert secret not in text
    if len(platform.node()) > 2:
        assert platform.node() not in text
    kept = {one.case.sparsity: one for one in records.load(tmp_path / "out")}
    assert kept[0.9].samples == private().samples
    assert kept[0.9].machine["cpu"] == {"model": "Anvil(R) 9000", "cores": 4}
    assert kept[0.9].run == {"id": "r", "seed": 0, "rounds": 9}
    assert kept[0.8].rounds[0].conditions == {"load": 1.0}
    assert kept[0.5].message.endswith("3 / 4 and 1/2 of it")
    said = capsys.readouterr().out
    for place in ("machine.hostname", "run.host", "machine.cpu.serial", "rounds.conditions: load"):
        assert place in said


def test_a_file_is_named_by_machine_and_content(tmp_path):
    other = private().model_copy(update={"machine": MACHINE | {"id": "beef"}})
    path = written(tmp_path, [private(), other])
    contribute(path, "--out", tmp_path / "a")
    contribute(path, "--out", tmp_path / "b")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "b").iterdir())
    assert [name.rpartition("-")[0] for name in names] == ["anvil-r-9000-0a1b", "anvil-r-9000-beef"]
    changed = written(tmp_path / "c", [private(sparsity=0.5)])
    contribute(changed, "--out", tmp_path / "d")
    assert not {p.name for p in (tmp_path / "d").iterdir()} & {*names}
    assert len(points(records.load(tmp_path / "a"))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": [1.0, 0.0]}, "line 2: samples: sample 1 = 0.0: must be above 0"),
        ({"speed": 3}, "line 2: speed = 3: Extra inputs are not permitted"),
        ({"machine": {}}, "line 2: machine.id = '': must be a digest"),
        ({"machine": {"id": "0a1b"}}, "line 2: machine.cpu.model is required"),
        ({"samples": []}, r"line 2: samples = \[\].*there must be some"),
        ({"schema_version": 7}, "line 2: schema_version = 7"),
    ],
)
def test_what_is_no_record_is_refused_and_nothing_is_written(change, message, tmp_path):
    path = written(tmp_path, [private()])
    bad = json.loads(private(sparsity=0.5).model_dump_json()) | {"rounds": []} | change
    path.write_text(path.read_text() + json.dumps(bad) + "\n")
    with pytest.raises(InputError, match=message):
        contribute(path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_torn_and_missing_files_are_refused(tmp_path):
    path = written(tmp_path, [private()])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(InputError, match="line 1: Invalid JSON"):
        contribute(path)
    with pytest.raises(InputError, match="no such file"):
        contribute(tmp_path / "nothing")
    assert contribution.KEPT["run"] == ("id", "seed", "position", "rounds", "attempt")
