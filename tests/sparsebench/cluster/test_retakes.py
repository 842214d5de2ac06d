"""What other work disturbed on a cluster is taken again later, on the host that had it."""

import io

import pytest
from rich.console import Console

from sparsebench.campaign import run as campaign
from sparsebench.campaign.there import Terms, There
from sparsebench.cases.settings import Settings
from sparsebench.cluster import agent as agents
from sparsebench.cluster.agent import _Agent
from sparsebench.cluster.connection import Ended
from sparsebench.cluster.crew import Crew
from sparsebench.cluster.messages import Task, Told, from_json, to_json
from sparsebench.measuring import isolation, retakes, runner
from sparsebench.measuring.runner import Again
from sparsebench.measuring.timing import Times
from sparsebench.measuring.worker import Outcome
from sparsebench.records import Record, Round, load
from tests.sparsebench.cluster.test_dispatcher import Toy, cases, clock  # noqa: F401  # a fixture

WHY = "other work had a core in 3 of 3 samples"


class Busy(Toy):
    """A cluster on which the first `disturbed` turns of every case of ours are disturbed.

    Events come after the answer they are in, some of them when nobody waits for them any more.
    """

    def __init__(self, disturbed, **hosts):
        super().__init__(**hosts)
        self.disturbed, self.turns = disturbed, {}

    def work(self, key, address, task):
        task = from_json(Task, task)
        self.tasks.append((address, task))
        lines, end = self.play(address, task)
        if end is not None:
            self.inbox.put(Ended(key, answer=lines))
        for line in lines:
            self.inbox.put(line)

    def records(self, address, task, count=None):
        again = dict(zip(task.cases, task.again, strict=False))
        return [
            to_json(
                Told(
                    kind="record", number=task.number, attempt=task.attempt,
                    record=self.record(case, again.get(case), self.hosts[address]),
                )
            )
            for case in task.cases[:count]
        ]  # fmt: skip

    def record(self, case, again, host):
        number = self.turns[case] = self.turns.get(case, 0) + 1
        bad = case.implementation == "ours" and number <= self.disturbed
        told = Round(
            samples=3, calls_per_sample=again.calls if again else 50,
            disturbed=WHY if bad else "", retaken=again.number if again else 0,
        )  # fmt: skip
        return Record(
            case=case, status="ok", samples=[0.9 if bad else 1e-3] * 3, rounds=[told],
            machine={"id": f"m-{host}"}, run={"host": host, "rounds": 1},
        )  # fmt: skip

    @property
    def retaken(self):
        return [(address, task) for address, task in self.tasks if task.again]


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Run a sweep of two implementations of each problem; return its records, and what it said."""
    monkeypatch.setattr(retakes, "_LEAST_S", 3600.0)  # however busy the machine is

    def sweep(toy, count=6, **settings):
        talk = Console(file=io.StringIO(), width=300)
        crew = Crew(toy)
        crew.gather(60.0)
        place = There(toy, crew, Terms(timeout_s=60.0, talk=talk))
        asked = cases(count)
        campaign.measure(asked, tmp_path, Settings(rounds=1, **settings), place=place, talk=talk)
        lines = (tmp_path / "records.jsonl").read_text().count("\n")
        assert lines == len(asked)
        return {record.case: record for record in load(tmp_path)}, talk.file.getvalue()

    return sweep


def test_a_disturbed_turn_is_taken_again_on_the_host_that_had_it(sweep):
    toy = Busy(1, a="one", b="two", c="one")
    found, said = sweep(toy)
    assert "6 of 12 cases were disturbed by other work, and taken again" in said
    assert "allowed): all have rounds that were not" in said
    assert sum(len(task.cases) for _, task in toy.retaken) == 6
    for address, task in toy.retaken:
        for case, again in zip(task.cases, task.again, strict=True):
            assert case.implementation == "ours"
            assert again == Again(calls=5, number=1, host=toy.hosts[address])
    for case, record in found.items():
        assert not record.disturbed
        if case.implementation == "ours":
            assert [turn.retaken for turn in record.rounds] == [0, 1]  # once, though told twice
            assert record.samples == [0.9] * 3 + [1e-3] * 3  # the first result stays
            assert record.clean == [1]


def test_what_stays_disturbed_on_a_cluster_is_marked_and_the_budget_said(sweep):
    toy = Busy(99, a="one", b="two")
    found, said = sweep(toy, 3)
    assert "3 of 6 cases were disturbed by other work, and taken again (0:" in said
    assert "; 3 stay so: they are marked ! in tables" in said
    assert sum(len(task.cases) for _, task in toy.retaken) == 3 * retakes._MOST
    assert sum(bool(record.disturbed) for record in found.values()) == 3


def test_no_budget_no_retakes_on_a_cluster(sweep):
    toy = Busy(1, a="one")
    _, said = sweep(toy, 2, retake=0.0)
    assert "2 of 4 cases were disturbed by other work; 2 stay so" in said
    assert not toy.retaken


def test_nobody_goes_on_with_what_a_host_had_that_has_gone(sweep):
    toy = Busy(1, a="one", b="two")

    def play(address, task):
        if address == "a" and task.again:
            toy.there.pop("a", None)  # it dies, and never comes back
            return [], None
        return toy.measure(address, task)

    toy.play = play
    found, said = sweep(toy)
    assert "a: the worker died; its cases stay as they were" in said
    of_a = {case for case, record in found.items() if record.run["host"] == "one"}
    assert of_a
    assert {address for address, task in toy.retaken if of_a & set(task.cases)} == {"a"}
    for case, record in found.items():
        assert len({turn.retaken for turn in record.rounds}) == len(record.rounds)
        assert bool(record.disturbed) == (case in of_a and case.implementation == "ours")


def test_a_worker_takes_a_case_once_more_as_it_is_told(tmp_path, monkeypatch):
    earlier = []

    def answer(function, *args, **options):
        if function is not runner.worker.measure:
            return Outcome("ok")
        earlier.append(args[-1].calls_per_sample)
        fails = args[0].implementation == "dense"
        return Outcome("error" if fails else "ok", times=Times([1e-3] * 3, 5))

    monkeypatch.setattr(isolation, "call", answer)
    monkeypatch.setattr(agents, "described", lambda case: {"id": "here"})
    both = tuple(cases(1))
    task = Task(
        run="r", seed=1, number=7, attempt=0, cases=both, positions=(0, 1),
        settings=Settings(rounds=1), again=(Again(calls=5, number=2, host="x"),) * 2,
    )  # fmt: skip
    channel = io.StringIO()
    _Agent(channel, tmp_path / "numbers").answer(to_json(task))
    told = [from_json(Told, line) for line in channel.getvalue().splitlines()]
    assert told[-1].kind == "done"
    (record,) = [t.record for t in told if t.record]  # the other's rounds before are right
    assert record.case.implementation == "ours"
    assert [turn.retaken for turn in record.rounds] == [2]
    assert earlier == [5, 5]
