"""Where contests go, and what becomes of them when workers die, hang, fail or answer twice.

The cluster is one of plain objects here, with a clock of its own; test_cluster.py has a real one.
"""

import queue
from dataclasses import replace

import pytest

from sparsebench.cases.settings import Settings
from sparsebench.cluster import crew as crews
from sparsebench.cluster import dispatcher as dispatching
from sparsebench.cluster import versions
from sparsebench.cluster.connection import Ended, Worker
from sparsebench.cluster.crew import Crew
from sparsebench.cluster.dispatcher import Dispatcher
from sparsebench.cluster.messages import Greeting, Task, Told, from_json, to_json
from sparsebench.errors import ClusterError
from sparsebench.records import Record, Store, load
from tests.sparsebench.cases.test_case import CASE as SOME
from tests.sparsebench.cluster.dask_processes import Silent

CASE = replace(SOME, device="cpu", threads=1)


class Clock:
    """Goes on by a tenth of a second whenever somebody looks."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        self.now += 0.1
        return self.now


class Toy:
    """A cluster whose workers answer at once, or do as a test has them do.

    `tasks` are what was sent, with where to; `play(address, task)` returns the lines and the end.
    """

    def __init__(self, **hosts):
        self.inbox = queue.SimpleQueue()
        self.hosts, self.devices, self.versions = hosts, {}, {}
        self.there = dict.fromkeys(hosts, 0.0)
        self.tasks, self.forgotten, self.most, self.open = [], [], 0, []
        self.play = self.measure
        self.beating = set(hosts)
        self.gone = False

    def workers(self):
        if self.gone:
            raise ClusterError("gone")
        for name in self.beating & self.there.keys():
            self.there[name] += 1.0
        return {name: Worker(name, seen) for name, seen in self.there.items()}

    def greet(self, key, address):
        greeting = Greeting(
            machine={"id": f"m-{self.hosts[address]}"},
            host=self.hosts[address],
            devices=self.devices.get(address, {"cpu": "cpu"}),
            threads=2,
            versions=self.versions.get(address, versions.here()),
        )
        told = Told(kind="greeting", greeting=greeting)
        self.inbox.put(Ended(key, answer=to_json(told)))

    def work(self, key, address, task):
        task = from_json(Task, task)
        self.tasks.append((address, task))
        lines, end = self.play(address, task)
        for line in lines:
            self.inbox.put(line)
        if end is not None:
            self.inbox.put(replace(end, key=key))

    def forget(self, key):
        self.forgotten.append(key)

    def records(self, address, task, count=None):
        return [
            to_json(
                Told(
                    kind="record", number=task.number, attempt=task.attempt,
                    record=Record(
                        case=case, status="ok", samples=[1.0],
                        machine={"id": f"m-{self.hosts[address]}"},
                        run={"attempt": task.attempt, "host": self.hosts[address]},
                    ),
                )
            )
            for case in task.cases[:count]
        ]  # fmt: skip

    def measure(self, address, task):
        lines = self.records(address, task)
        return lines, Ended("", answer=lines)  # everything arrives twice


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(crews, "time", clock)
    monkeypatch.setattr(dispatching, "time", clock)
    monkeypatch.setattr(dispatching, "_TICK_S", 0.001)
    monkeypatch.setattr(crews, "_TICK_S", 0.001)
    return clock


@pytest.fixture
def run(tmp_path):
    """Run cases on a toy; return the records that are on disk, and who watched."""

    def run(toy, cases, *, allow_mixed=False, timeout_s=60.0, deadline=None, **options):
        watcher = Silent()
        crew = Crew(toy, allow_mixed=allow_mixed, told=watcher.waiting)
        crew.gather(timeout_s)
        with Store(tmp_path) as store:
            dispatcher = Dispatcher(
                toy, crew, store, Settings(), watcher, timeout_s=timeout_s, **options
            )
            run.yielded = list(dispatcher.run(cases, deadline))
        return load(tmp_path), watcher

    run.lines = lambda: (tmp_path / "records.jsonl").read_text().count("\n")
    return run


def cases(count=2, *names, **changes):
    return [
        replace(CASE, implementation=name, seed=seed, **changes)
        for seed in range(count)
        for name in names or ("dense", "ours")
    ]


def test_a_contest_goes_to_one_worker_whole_and_what_arrives_twice_is_kept_once(run):
    toy = Toy(a="one", b="two")
    found, watcher = run(toy, cases(6))
    assert {record.case for record in found} == set(cases(6))
    assert run.lines() == len(found) == len(run.yielded) == 12
    assert all(len(task.cases) == 2 for _, task in toy.tasks)
    assert all(len({c.problem for c in task.cases}) == 1 for _, task in toy.tasks)
    assert {address for address, _ in toy.tasks} == {"a", "b"}
    assert sum(watcher.counts.values()) == 12
    positions = [p for _, task in toy.tasks for p in task.positions]
    assert sorted(positions) == list(range(12))


def test_a_host_measures_one_contest_at_a_time_however_many_workers_it_has(run):
    toy = Toy(a="one", b="one", c="two")
    open_ones = []

    def play(address, task):
        assert toy.hosts[address] not in [toy.hosts[other] for other, _ in open_ones]
        open_ones.append((address, task))
        if len(open_ones) < 2:
            return [], None  # the first waits until the other host measures as well
        for other, of in open_ones:
            toy.inbox.put(Ended(f"contest {of.number} 0", answer=toy.records(other, of)))
        open_ones.clear()
        return [], None

    toy.play = play
    assert len(run(toy, cases(8))[0]) == 16


@pytest.mark.parametrize(
    ("together", "most"), [(False, 1), (True, 2)]
)  # fmt: skip
def test_gpus_of_a_host_are_measured_one_by_one_unless_told_otherwise(run, together, most):
    toy = Toy(a="one", b="one", c="one")
    for name, gpu in (("a", "x"), ("b", "y"), ("c", "y")):
        toy.devices[name] = {"cpu": "cpu", "cuda": gpu, "cuda:0": gpu}
    busy, seen = [], []

    def play(address, task):
        busy.append((address, task))
        seen.append(len(busy))
        if len(busy) < most:
            return [], None
        for other, of in busy:
            toy.inbox.put(Ended(f"contest {of.number} 0", answer=toy.records(other, of)))
        busy.clear()
        return [], None

    toy.play = play
    asked = cases(4, device="cuda") + (cases(3, device="cuda:0") if together else [])
    count = len(asked) // 2 * 2
    assert len(run(toy, asked[:count] if count % 4 == 0 else asked[:-2], together=together)[0])
    assert max(seen) == most


def test_what_a_dead_worker_had_begun_is_measured_again_elsewhere_as_a_whole(run):
    toy = Toy(a="one", b="two")

    def play(address, task):
        if address == "a":
            del toy.there["a"]
            return toy.records("a", task, 1), None  # half of it had come
        return toy.measure(address, task)

    toy.play = play
    found, watcher = run(toy, cases(4))
    assert run.lines() == len(found) == 8
    assert {record.machine["id"] for record in found} == {"m-two"}
    assert any("a: the worker died; its cases go to another" in text for text in watcher.said)


def test_equal_machines_do_not_mix_in_one_contest_either(run):
    toy = Toy(a="one", b="one")

    def play(address, task):
        if address == "a":
            del toy.there["a"]
            return toy.records("a", task, 1), None
        return toy.measure(address, task)

    toy.play = play
    found, _ = run(toy, cases(1))
    assert run.lines() == len(found) == 2
    assert {record.run["attempt"] for record in found} == {1}


def test_a_worker_that_hangs_loses_its_contest_and_may_come_back(run):
    toy = Toy(a="one", b="two")
    held = []

    def play(address, task):
        if address == "a" and not held:
            held.append(task)
            toy.beating.discard("a")
            return [], None
        if held and task.number == held[0].number:
            toy.beating.add("a")  # it wakes, and sends what it had: too late
            late = toy.records("a", held[0])
            return [*toy.records(address, task), *late], Ended("", answer=[])
        return toy.measure(address, task)

    toy.play = play
    found, watcher = run(toy, cases(5))
    assert any("a: the worker hangs" in text for text in watcher.said)
    assert f"contest {held[0].number} 0" in toy.forgotten
    assert {record.case for record in found} == set(cases(5))
    assert run.lines() == len(found)


def test_after_two_more_workers_the_case_is_an_error(run):
    toy = Toy(a="1", b="2", c="3", d="4")

    def play(address, task):
        if task.cases[0].seed == 0:
            return toy.records(address, task, 0), Ended("", error="RuntimeError: no luck")
        return toy.measure(address, task)

    toy.play = play
    found, _ = run(toy, cases(3))
    assert run.lines() == len(found) == 6
    failed = {r.case.implementation: r for r in found if r.status == "error"}
    assert failed.keys() == {"dense", "ours"}
    tried = [address for address, task in toy.tasks if task.cases[0].seed == 0]
    assert len(tried) == len(set(tried)) == 3
    assert "RuntimeError: no luck; so did 3 workers" in failed["ours"].message
    assert failed["ours"].machine["id"] == f"m-{toy.hosts[tried[-1]]}"


def test_what_had_come_of_a_contest_that_is_given_up_is_kept(run):
    toy = Toy(a="1", b="2")
    toy.play = lambda address, task: (toy.records(address, task, 1), Ended("", error="no luck"))
    found, _ = run(toy, cases(1))
    assert {(r.case == toy.tasks[0][1].cases[0], r.status) for r in found} >= {
        (True, "ok"),
        (False, "error"),
    }
    assert not any(r.status == "error" and r.case == toy.tasks[0][1].cases[0] for r in found)


def test_a_device_that_some_have_is_measured_there_and_else_said_to_be_missing(run):
    toy = Toy(a="1", b="2")
    toy.devices["b"] = {"cpu": "cpu", "cuda": "x"}
    run(toy, cases(4, device="cuda"))
    assert {address for address, _ in toy.tasks} == {"b"}
    toy = Toy(a="1")
    run(toy, cases(1, device="cuda", batch=7))  # the worker's own answer will be: unsupported
    assert [address for address, _ in toy.tasks] == ["a"]


def test_contests_that_share_numbers_go_to_the_worker_that_has_them(run):
    toy = Toy(a="1", b="2")
    both = cases(6, phase="inference") + cases(6, phase="train_step")
    run(toy, both)
    where = {}
    for address, task in toy.tasks:
        where.setdefault(task.cases[0].seed, set()).add(address)
    assert all(len(addresses) == 1 for addresses in where.values())


def test_a_late_worker_joins(run):
    toy = Toy(a="1", late="2")
    del toy.there["late"]

    def play(address, task):
        if address == "late":
            return toy.measure(address, task)
        toy.there = {"late": 0.0}
        return [], None

    toy.play = play
    assert {r.status for r in run(toy, cases(1))[0]} == {"ok"}


def test_no_worker_is_waited_for_and_then_given_up(run):
    toy = Toy()
    with pytest.raises(ClusterError, match=r"no workers for 5 s \(--timeout\)"):
        run(toy, cases(1), timeout_s=5.0)
    toy = Toy(a="1")

    def play(address, task):
        toy.there.clear()
        return [], None

    toy.play = play
    with pytest.raises(ClusterError, match="has had no worker for 5 s"):
        run(toy, cases(1), timeout_s=5.0)


def test_a_scheduler_that_is_lost_leaves_what_came(run, tmp_path):
    toy = Toy(a="1")

    def play(address, task):
        toy.gone = len(toy.tasks) >= 3
        return toy.measure(address, task)

    toy.play = play
    with pytest.raises(ClusterError, match="gone"):
        run(toy, cases(40))
    assert 6 <= len(load(tmp_path)) < 80


def test_different_versions_are_refused_with_a_table_unless_allowed(run):
    toy = Toy(a="1", b="2")
    toy.versions["b"] = versions.here() | {"torch": "2.0.1"}
    with pytest.raises(ClusterError) as error:
        run(toy, cases(1))
    message = str(error.value)
    assert "different versions" in message
    assert "--allow-mixed" in message
    rows = [line.split() for line in message.splitlines() if line.startswith("  torch")]
    assert rows == [["torch", versions.here()["torch"], "a"], ["torch", "2.0.1", "b"]]
    assert "kernels" not in message
    assert len(run(toy, cases(2), allow_mixed=True)[0]) == 4


def test_workers_that_agree_with_each_other_have_to_agree_with_this_side_too(run):
    toy = Toy(a="1")
    toy.versions["a"] = {"sparsebench": "0.0.1", "torch": "any", "kernels": "any"}
    with pytest.raises(ClusterError, match=r"sparsebench +0.0.1 +a\n.*this side"):
        run(toy, cases(1))


def test_who_comes_late_and_differs_is_left_out(run):
    toy = Toy(a="1", late="2")
    del toy.there["late"]
    toy.versions["late"] = versions.here() | {"kernels": "other"}

    def play(address, task):
        toy.there["late"] = 0.0
        return toy.measure(address, task)

    toy.play = play
    found, watcher = run(toy, cases(30))
    assert {address for address, _ in toy.tasks} == {"a"}
    assert any("came late and is left out" in text for text in watcher.said)
    assert len(found) == 60


def test_the_budget_leaves_the_rest(run, clock):
    toy = Toy(a="1")
    found, _ = run(toy, cases(50), deadline=clock.now + 10)
    assert 0 < len(found) < 100
    assert len(found) % 2 == 0


def test_a_contest_measured_again_replaces_what_an_interrupted_run_left(run, tmp_path):
    toy = Toy(a="1", b="2")
    toy.hosts["a"] = "old"
    old = [
        Record(case=c, status="ok", machine={"id": m}, run={"host": "x"})
        for c, m in ((cases(1)[0], "m-old"), (cases(1)[0], "m-2"))
    ]
    with Store(tmp_path) as store:
        for record in old:
            store.append(record)
    del toy.there["a"]
    found, _ = run(toy, cases(1), earlier=old)
    assert run.lines() == len(found) == 2
    assert {record.machine["id"] for record in found} == {"m-2"}
    assert all(record.run == {"attempt": 0, "host": "2"} for record in found)
