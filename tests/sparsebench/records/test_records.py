"""Records survive whatever ends a run."""

import resource

import pytest

from sparsebench import records
from sparsebench.errors import StoreError
from sparsebench.records import Record, Store, software
from tests.sparsebench.factory import record


def test_records_are_read_back_as_they_were(tmp_path):
    first, second = record(1e-3, sparsity=0.5), record(None, message="why", sparsity=0.9)
    with Store(tmp_path) as store:
        store.append(first)
        store.append(second)
    with Store(tmp_path) as store:
        store.append(record(2e-3, sparsity=0.98))
    assert records.load(tmp_path)[:2] == [first, second]
    assert len(records.load(tmp_path / "records.jsonl")) == 3


def test_the_last_record_of_a_case_and_machine_counts(tmp_path):
    with Store(tmp_path) as store:
        for seconds, machine in ((1, "a"), (2, "b"), (3, "a")):
            store.append(record(seconds, count=1, machine={"id": machine}))
    assert {(r.machine["id"], r.samples[0]) for r in records.load(tmp_path)} == {("a", 3), ("b", 2)}


def test_a_torn_line_is_dropped_with_a_warning(tmp_path):
    with Store(tmp_path) as store:
        store.append(record(1e-3))
    path = tmp_path / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="line 2 is no record and is left out"):
        assert len(records.load(tmp_path)) == 1
    with pytest.warns(UserWarning, match="torn by a crash"), Store(tmp_path) as store:
        store.append(record(2e-3, sparsity=0.5))
    assert [r.case.sparsity for r in records.load(tmp_path)] == [0.9, 0.5]


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"case": 3, "status": "ok"}'])
def test_a_line_that_is_no_record_costs_only_itself(line, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(f"{line}\n{record(1e-3).model_dump_json()}\n")
    with pytest.warns(UserWarning, match="line 1 is no record"):
        assert len(records.load(tmp_path)) == 1


def test_records_of_another_schema_are_refused_with_the_versions(tmp_path):
    path = tmp_path / "records.jsonl"
    lines = [record(1e-3, sparsity=s).model_dump_json() for s in (0.5, 0.8, 0.9)]
    other = [line.replace('"schema_version":1', '"schema_version":0') for line in lines[:2]]
    # A schema may have had other fields: that is no torn line.
    other[0] = other[0].replace('"samples"', '"seconds"')
    path.write_text("\n".join([*other, lines[2]]) + "\n")
    with pytest.warns(UserWarning, match="schema") as caught:
        assert [r.case.sparsity for r in records.load(tmp_path)] == [0.9]
    (message,) = [str(w.message) for w in caught]
    assert "2 records of schema 0 are left out, the first in line 1" in message
    assert "reads schema 1" in message


def test_a_schema_may_be_anything(tmp_path):
    line = record(1e-3).model_dump_json()
    others = [line.replace('"schema_version":1', f'"schema_version":{s}') for s in ("[1]", "{}")]
    (tmp_path / "records.jsonl").write_text("\n".join([*others, line]) + "\n")
    with pytest.warns(UserWarning, match="schema") as caught:
        assert len(records.load(tmp_path)) == 1
    assert "1 records of schema [1] are left out, the first in line 1" in str(caught[0].message)


def test_only_one_run_writes_into_a_folder(tmp_path):
    with Store(tmp_path), pytest.raises(StoreError, match="another run"), Store(tmp_path):
        pass
    with Store(tmp_path):
        pass


def test_a_full_disk_is_a_clear_error_and_leaves_whole_lines(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store(tmp_path) as store:
        store.append(record(1e-3))
        size = store.path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        try:
            with pytest.raises(StoreError, match="cannot append a record"):
                store.append(record(2e-3, sparsity=0.5))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert store.path.stat().st_size == size
        store.append(record(3e-3, sparsity=0.98))
    assert [r.case.sparsity for r in records.load(tmp_path)] == [0.9, 0.98]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), Store(tmp_path / "file" / "folder"):
        pass


def test_dropped_records_are_gone_and_kept_beside(tmp_path):
    first, second = record(1e-3, sparsity=0.5), record(2e-3, sparsity=0.9)
    with Store(tmp_path) as store:
        store.append(first)
        store.append(second)
        store.drop({first.identity})
        store.append(record(3e-3, sparsity=0.98))
    assert [r.case.sparsity for r in records.load(tmp_path)] == [0.9, 0.98]
    assert (tmp_path / "records.jsonl.old").exists()


def test_nothing_that_was_dropped_is_ever_written_over(tmp_path):
    for seconds in (1.0, 2.0, 3.0):
        with Store(tmp_path) as store:
            store.drop({r.identity for r in records.load(tmp_path)})
            store.append(record(seconds))
    assert [r.samples[0] for r in records.load(tmp_path)] == [3.0]
    old = (tmp_path / "records.jsonl.old").read_text().splitlines()
    assert [Record.model_validate_json(line).samples[0] for line in old] == [1.0, 2.0]


def test_lines_of_others_stay_when_records_are_dropped(tmp_path):
    foreign = (
        record(1e-3, sparsity=0.5)
        .model_dump_json()
        .replace('"schema_version":1', '"schema_version":0')
    )
    lines = [foreign, "nonsense", record(1e-3).model_dump_json()]
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with Store(tmp_path) as store:
        store.drop({record(1e-3).identity})
    assert path.read_text().splitlines() == lines[:2]
    assert (tmp_path / "records.jsonl.old").read_text().splitlines() == lines[2:]


@pytest.mark.parametrize("name", ["records.jsonl.old", "records.new"])
def test_a_drop_that_fails_loses_nothing(name, tmp_path):
    first = record(1e-3)
    with Store(tmp_path) as store:
        store.append(first)
        (tmp_path / name).mkdir()
        with pytest.raises(StoreError, match="cannot be rewritten"):
            store.drop({first.identity})
        store.append(record(2e-3, sparsity=0.5))
    assert records.load(tmp_path) == [first, record(2e-3, sparsity=0.5)]


def test_records_of_other_software_stand_beside_each_other(tmp_path):
    def of(torch, own="a"):
        software = {"torch": torch, "allocator": "m", "threads": "t", "implementation": own}
        return record(1e-3, machine={"id": "m", "software": software})

    every = [of("2.13"), of("2.14"), of("2.14", own="b")]
    with Store(tmp_path) as store:
        for one in [*every, every[1]]:
            store.append(one)
    assert len(records.load(tmp_path)) == 3
    assert len({r.identity for r in every}) == 3


def test_what_old_records_tell_of_their_software_is_read_from_their_fingerprint():
    told = software.of({"torch": {"version": "2.14", "blas": "mkl"}, "malloc": "glibc 2.36"})
    assert told["torch"] == "2.14 mkl"
    assert "glibc 2.36" in told["allocator"]
    assert software.of({"id": "m"}) == {}
    assert software.differences({"torch": "1"}, {"torch": "2"}) == ["torch 1 → 2"]


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="extra"):
        Record.model_validate(record(1e-3).model_dump() | {"speed": 3})


def test_a_record_says_of_a_convolution_what_a_linear_layer_has_not(tmp_path):
    linear = record(1e-3)
    conv = record(1e-3, operation="conv2d", width=16, kernel=3, padding=1, image=8)
    with Store(tmp_path) as store:
        store.append(linear)
        store.append(conv)
    assert records.load(tmp_path) == [linear, conv]
    first, second = (tmp_path / "records.jsonl").read_text().splitlines()
    assert "kernel" not in first
    assert '"kernel":3,"stride":1,"padding":1,"groups":1,"image":8' in second
