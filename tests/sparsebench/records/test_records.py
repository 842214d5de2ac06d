"""Records survive whatever ends a run."""

import resource

import pytest

from sparsebench import records
from sparsebench.errors import StoreError
from sparsebench.records import Record, Store
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
