"""Rounds keep their boundaries; those that other work disturbed decide nothing."""

import json

import pytest

from sparsebench.records import Record, Round, Store, load
from tests.sparsebench.factory import record

WHY = "other work had a core in 3 of 3 samples"


def rounds(*parts, **changes):
    """A record of rounds, each of samples and what its Round says."""
    made = record(1.0, count=1, **changes)
    samples = [sample for own, _ in parts for sample in own]
    told = [Round(samples=len(own), **fields) for own, fields in parts]
    return made.model_copy(update={"samples": samples, "rounds": told})


GOOD, BAD = ([1.0, 1.1, 1.2], {}), ([9.0, 80.0, 70.0], {"disturbed": WHY})


def test_a_round_that_was_disturbed_is_left_out():
    of = rounds(GOOD, BAD)
    assert of.by_round() == [GOOD[0], BAD[0]]
    assert of.clean == [0]
    assert of.clean_rounds() == {0: GOOD[0]}
    assert of.disturbed == ""


def test_a_record_whose_rounds_were_all_disturbed_says_so_and_keeps_its_samples():
    of = rounds(BAD, BAD)
    assert of.clean == []
    assert of.disturbed == WHY
    assert of.clean_rounds() == {0: BAD[0], 1: BAD[0]}


def test_samples_that_were_spoiled_are_left_out_of_a_clean_round():
    of = rounds(([1.0, 50.0, 1.2, 1.1], {"spoiled": [1]}))
    assert of.clean_rounds() == {0: [1.0, 1.2, 1.1]}


@pytest.mark.parametrize(
    ("medians", "clean"),
    [
        ([1.0], [0]),
        ([1.0, 1.4], [0, 1]),
        ([1.0, 1.8], []),  # one of them is wrong, and nothing says which
        ([1.0, 1.8, 1.1], [0, 2]),
        ([5.0, 1.0, 1.2, 1.1], [1, 2, 3]),
        ([1.0, 2.0, 4.0], []),
    ],
)
def test_rounds_that_are_far_apart_decide_by_majority(medians, clean):
    of = rounds(*(([median], {}) for median in medians))
    assert of.clean == clean
    assert bool(of.disturbed) == (not clean)


def test_old_records_have_equal_rounds_and_nothing_against_them():
    old = record(1.0, count=6).model_copy(update={"rounds": [], "run": {"rounds": 2}})
    assert [len(part) for part in old.by_round()] == [3, 3]
    assert old.disturbed == ""
    assert sum(map(len, old.clean_rounds().values())) == 6


def test_what_failed_is_not_disturbed():
    assert record(None).disturbed == ""


def test_a_round_is_read_back_with_its_quality(tmp_path):
    told = {"waited": [0.0, 0.5, 0.01], "switches": [0, 3, 0], "cpu": [2.0, 1.1, 2.0]}
    of = rounds(([1.0, 2.0, 1.1], told | {"spoiled": [1], "conditions": {"load": 1.5}}))
    with Store(tmp_path) as store:
        store.append(of)
    assert load(tmp_path) == [of]
    assert Record.model_validate_json(of.model_dump_json()).rounds == of.rounds


def test_a_later_round_joins_those_before(tmp_path):
    with Store(tmp_path) as store:
        store.append(rounds(BAD, started="2026-01-01"))
        store.go_on(load(tmp_path))
        store.append(rounds(GOOD, started="2026-01-02"))
    (joined,) = load(tmp_path)
    assert joined.by_round() == [BAD[0], GOOD[0]]
    assert joined.clean == [1]


def test_what_no_round_has_is_refused_in_the_words_of_a_record(tmp_path):
    content = json.loads(record(1.0).model_copy(update={"rounds": [Round()]}).model_dump_json())
    content["rounds"][0]["foreign"] = 1
    (tmp_path / "records.jsonl").write_text(json.dumps(content), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"line 1 .*: rounds\.0\.foreign = 1: Extra inputs are"):
        assert load(tmp_path) == []


def test_records_are_told_apart_as_their_identities_are():
    made = [record(1.0), record(2.0), record(1.0, sparsity=0.5), record(1.0, gradients="kept",
            phase="train_step"), record(1.0, batch=3)]  # fmt: skip
    for one in made:
        assert [one.apart == other.apart for other in made] == [
            one.identity == other.identity for other in made
        ]
