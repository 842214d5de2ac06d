"""Sweeps on real Dask processes on loopback, encrypted; workers and schedulers get killed."""

import gc
import itertools
import signal
import threading
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from sparsebench.cases.settings import Settings
from sparsebench.cluster import connection
from sparsebench.cluster.connection import connected
from sparsebench.cluster.crew import Crew
from sparsebench.cluster.dispatcher import Dispatcher
from sparsebench.cluster.target import Target
from sparsebench.errors import ClusterError
from sparsebench.records import Store, load
from tests.sparsebench.cases.test_case import CASE as SOME
from tests.sparsebench.cluster.dask_processes import PATIENCE_S, Processes, Silent, certificate

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow  # test_dispatcher.py has a cluster of plain objects

CASE = replace(SOME, in_features=8, out_features=8, batch=1, threads=1, phase="inference")
SETTINGS = Settings(rounds=2, sample_s=1e-4, timeout_s=600)


def problems(count, *implementations, **changes):
    """So many problems, of as many cases as implementations."""
    return [
        replace(CASE, implementation=name, seed=seed, **changes)
        for seed, name in itertools.product(range(count), implementations)
    ]


@contextmanager
def dispatching(target, folder, settings=SETTINGS, earlier=()):
    """A dispatcher, connected; and what it said."""
    watcher = Silent()
    with connected(target, f"test-{folder.name}", PATIENCE_S) as cluster, Store(folder) as store:
        crew = Crew(cluster, told=watcher.waiting)
        crew.gather(PATIENCE_S)
        dispatcher = Dispatcher(
            cluster, crew, store, settings, watcher, earlier=earlier, timeout_s=PATIENCE_S
        )
        yield dispatcher, watcher, crew


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers with TLS, on what they take for two hosts."""
    folder = tmp_path_factory.mktemp("cluster")
    processes = Processes(folder, certificate(folder))
    try:
        for name in ("a", "b"):
            processes.worker(name)
        yield processes
    finally:
        processes.end()


@pytest.fixture
def target(cluster):
    return Target(address=cluster.address, tls=cluster.tls)


def test_everything_is_encrypted_and_on_loopback(cluster, target, tmp_path):
    assert cluster.address.startswith("tls://127.0.0.1:")
    with dispatching(target, tmp_path) as (_, _, crew):
        assert len({member.host for member in crew.members.values()}) == 2
        for process in cluster.started:
            for connection in psutil.Process(process.pid).net_connections():
                assert connection.laddr.ip in ("127.0.0.1", "::1")
    plain = connected(Target(address=cluster.address.replace("tls", "tcp")), "plain", 1.0)
    with pytest.raises(ClusterError, match=r"answers at tcp://127.* within 1 s \(--timeout\)"):
        plain.__enter__()


def test_many_trivial_cases_cost_little_and_keep_no_memory(cluster, target, tmp_path):
    cases = problems(90, "torch_csr", dtype="bfloat16")  # refused, so that nothing is measured
    sizes = []
    with dispatching(target, tmp_path) as (dispatcher, watcher, _), traced():
        for number, record in enumerate(dispatcher.run(cases)):
            assert record.status == "unsupported"
            if number % 30 == 29:
                sizes.append([allocated(), *memory(map(psutil.Process, pids(cluster)))])
    assert len(load(tmp_path)) == 90
    assert len(watcher.counts) == 2
    growth = [last - first for first, last in zip(sizes[0], sizes[-1], strict=True)]
    assert max(growth) < 6e6, growth  # of 60 cases


def test_a_worker_killed_in_the_middle_costs_nothing(cluster, target, tmp_path):
    cases = problems(8, "dense", "ours")
    with dispatching(target, tmp_path) as (dispatcher, watcher, crew):
        arrived = []
        for record in dispatcher.run(cases):
            arrived.append(record)
            if len(arrived) == 3:
                busy = next(job.member for job in dispatcher._running)
                victim = cluster.started[1 + ["a", "b"].index(busy.name.split()[1])]
                victim.kill()
        assert any("died" in text for text in watcher.said)
        assert not any(member.name.split()[1] == busy.name for member in crew.members.values())
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(lines) == len(arrived) == 16  # nothing lost, nothing double
    assert {record.case for record in load(tmp_path)} == set(cases)
    assert {record.status for record in load(tmp_path)} == {"ok"}
    for record in load(tmp_path):
        rival = next(
            r for r in load(tmp_path)
            if r.case.problem == record.case.problem and r.case != record.case
        )  # fmt: skip
        assert rival.run["host"] == record.run["host"]  # both sides come from one machine
        assert record.machine["roofline"]["matmul_gflops"] > 0


def test_a_scheduler_that_does_not_answer_is_gone(cluster, target, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_ANSWER_S", 1.0)
    with connected(target, f"test-{tmp_path.name}", PATIENCE_S) as ours:
        assert ours.workers()
        cluster.scheduler.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ClusterError, match=f"scheduler at {target} is gone"):
                ours.workers()
        finally:
            cluster.scheduler.send_signal(signal.SIGCONT)


def test_who_leaves_a_scheduler_that_does_not_answer_is_not_kept(
    cluster, target, tmp_path, monkeypatch
):
    monkeypatch.setattr(connection, "_GOODBYE_S", 1.0)

    def leave():
        with connected(target, f"test-{tmp_path.name}", PATIENCE_S) as ours:
            address = next(iter(ours.workers()))
            cluster.scheduler.send_signal(signal.SIGSTOP)
            ours.greet("under way", address)

    leaving = threading.Thread(target=leave, daemon=True)
    try:
        leaving.start()
        leaving.join(120)
        assert not leaving.is_alive()
    finally:
        cluster.scheduler.send_signal(signal.SIGCONT)


def test_a_scheduler_that_dies_loses_nothing_and_the_run_can_go_on(cluster, target, tmp_path):
    cases = problems(20, "dense")
    arrived = []

    def run():
        with dispatching(target, tmp_path) as (dispatcher, _, _):
            for record in dispatcher.run(cases):
                arrived.append(record)
                if len(arrived) == 3:
                    cluster.scheduler.kill()

    with pytest.raises(ClusterError, match=f"scheduler at {target} is gone"):
        run()
    assert load(tmp_path) == arrived
    assert 3 <= len(arrived) < 20


def pids(cluster):
    """Workers and scheduler, and the agents that measure; no process that measures."""
    for process in cluster.started:
        if process.poll() is None:
            yield process.pid
            yield from (child.pid for child in psutil.Process(process.pid).children())


def memory(processes):
    return [process.memory_info().rss for process in processes]


@contextmanager
def traced():
    """Count what this process allocates from now on: its size says more about earlier tests."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def allocated():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
