"""Medians of many records at once, against those that each record finds by itself."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sparsebench.records import Round, medians
from tests.sparsebench.factory import record

RNG = np.random.default_rng(0)


def made(rounds, each, *, scatter=0.1, retaken=(), **last):
    """A record of some rounds; the last of them says what `last` does."""
    parts = [Round(samples=each, retaken=int(n in retaken)) for n in range(rounds)]
    if parts:
        parts[-1] = replace(parts[-1], **last)
    taken = np.exp(RNG.normal(0, scatter, sum(part.samples for part in parts)))
    return record(1.0).model_copy(update={"samples": taken.tolist(), "rounds": parts})


RECORDS = [
    *(made(rounds, samples) for rounds, samples in itertools.product((1, 2, 3, 5), (1, 2, 5, 6))),
    *(made(4, 3, scatter=1.0) for _ in range(20)),  # medians far apart
    made(3, 4, retaken=(0,)),
    made(3, 4, disturbed="beside other work"),
    made(3, 4, spoiled=[0, 2]),
    made(3, 4, samples=6),  # one round has more than the others
    made(3, 4, samples=0),
    made(0, 4),
    record(None),
    record(1.0, count=6).model_copy(update={"rounds": [], "run": {"rounds": 2}}),
]


@pytest.mark.parametrize("at_once", [2000, 3])
def test_they_are_those_of_each_record(at_once, monkeypatch):
    monkeypatch.setattr(medians, "_AT_ONCE", at_once)
    together = [one.model_copy() for one in RECORDS]
    medians.work_out(together)
    assert sum("medians" in vars(one) for one in together) >= 16
    for own, alone in zip(together, RECORDS, strict=True):
        assert own.medians == alone.medians
        assert own.clean == alone.clean
        assert own.disturbed == alone.disturbed
        assert own.clean_medians() == alone.clean_medians()


def test_what_is_known_stays_and_a_copy_finds_out_again():
    one = made(3, 5)
    before = one.medians
    medians.work_out([one])
    assert one.medians is before
    halved = one.model_copy(update={"samples": [s / 2 for s in one.samples]})
    medians.work_out([halved])
    assert halved.medians == {n: pytest.approx(m / 2) for n, m in before.items()}
