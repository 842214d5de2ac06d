"""Whether other work disturbed a sample: on made-up counts, and beside a process that does."""

import os
import threading

import pytest
import torch

from sparsebench.measuring import isolation, quality, timing
from sparsebench.measuring.quality import Moment
from sparsebench.measuring.runner import Pace
from sparsebench.records import Round
from sparselayers import cores
from sparselayers.cores import Strain, Watch
from tests.hogs import sharing_a_core, work

QUIET = Strain(cpu=2.0, waited=0.01, switches=0)
DISTURBED = Strain(cpu=1.1, waited=0.6, switches=3)


@pytest.mark.parametrize(
    ("samples", "strains", "surroundings", "reason"),
    [
        ([1.0, 1.1, 1.2], [QUIET] * 3, {}, ""),
        ([1.0, 1.1, 1.2, 50.0], [QUIET] * 3 + [DISTURBED], {}, ""),
        ([1.0, 40.0, 50.0], [QUIET] + [DISTURBED] * 2, {}, "a core in 2 of 3 samples"),
        ([3.0], [QUIET], {"stolen": 0.01}, ""),
        ([3.0], [DISTURBED], {}, "1 of 1 samples"),
        ([1.0, 1.1, 1.2], [QUIET] * 3, {"stolen": 0.2}, "hypervisor took 20% of the cores"),
        ([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [QUIET] * 6, {}, "its samples scatter"),
    ],
)
def test_a_turn_without_enough_clean_samples_is_disturbed(samples, strains, surroundings, reason):
    found = quality.disturbance(samples, strains, surroundings)
    assert reason in found
    assert bool(reason) == bool(found)


@pytest.mark.parametrize(
    ("strain", "clean"),
    [
        # Two pools of two threads on two cores, and nobody else: each waits half of the time.
        (Strain(cpu=1.97, waited=1.0, switches=3, computing=4), True),
        (Strain(cpu=1.4, waited=1.3, switches=3, computing=4), False),  # somebody had 0.6 cores
        (Strain(cpu=1.9, waited=0.1, switches=3, computing=2), False),  # two had to share with one
    ],
)
def test_threads_that_wait_for_each_other_are_no_other_work(strain, clean, monkeypatch):
    monkeypatch.setattr(quality, "usable_threads", lambda: 2)
    samples, strains = [1.0, 1.1, 1.2], [QUIET, strain, strain]
    assert quality.spoiled(strains) == ([] if clean else [1, 2])
    assert bool(quality.disturbance(samples, strains, {})) != clean


def test_a_turn_in_which_constant_work_took_longer_is_disturbed():
    pace = Pace()

    def turn(loop, **fields):
        return pace.judged(Round(conditions={"loop_s": [loop, loop]}, **fields)).disturbed

    assert not turn(9.0)  # of a first one nothing is known
    assert not any(turn(1.0) for _ in range(12))
    assert "constant work took 2 times as long" in turn(2.0)
    assert turn(2.0, disturbed="another reason") == "another reason"
    assert not turn(1.3)
    assert Pace([1.0] * 9).judged(Round(conditions={"loop_s": [1.0, 2.2]})).disturbed
    # A neighbour that came and went costs the mean of both, not what the worse moment says.
    assert not Pace([1.0] * 9).judged(Round(conditions={"loop_s": [1.0, 1.8]})).disturbed
    assert not Pace([1.0] * 9).judged(Round()).disturbed


def test_surroundings_are_shares_of_the_time_between():
    before = Moment(at=10.0, load=1.25, pressure=5.0, stolen=1.0, loop=1e-4)
    after = Moment(at=12.0, load=2.0, pressure=6.0, stolen=1.0, loop=2e-4)
    found = quality.conditions(before, after)
    assert found["load"] == 1.25
    assert found["pressure"] == 0.5
    assert found["stolen"] == 0.0
    assert found["loop_s"] == [1e-4, 2e-4]


def test_a_moment_can_be_had_everywhere(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "_TASKS", tmp_path / "missing")
    for name in ("_STAT", "_PRESSURE", "_CPUS"):
        monkeypatch.setattr(quality, name, tmp_path / "missing")
    found = quality.conditions(Moment.now(), Moment.now())
    assert "pressure" not in found
    assert "governor" not in found
    watch = Watch()
    watch.begin()
    assert watch.end(1.0).waited is None
    watch.close()


def with_too_many_threads():
    """Time three threads that all want the one core that they have."""
    only = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {only})
    matrix = torch.randn(300, 300)
    torch.set_num_threads(1)
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            matrix @ matrix

    others = [threading.Thread(target=compute) for _ in range(2)]
    for other in others:
        other.start()
    try:
        return timing.measure(lambda: matrix @ matrix, device="cpu", threads=1, seconds=0.5)
    finally:
        stop.set()
        for other in others:
            other.join()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_how_many_threads_compute_is_counted():
    times = isolation.call(with_too_many_threads, timeout_s=600)
    if times.strains[0].waited is None:
        pytest.skip("the kernel does not count how long threads wait")
    assert max(strain.computing for strain in times.strains) >= 3
    assert any(strain.spoiled for strain in times.strains)  # by each other, and perhaps by others


def beside_a_hog():
    """Time work of 5 ms on the one core that another process uses too."""
    with sharing_a_core():
        return timing.measure(work, device="cpu", threads=1, seconds=0.3)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_a_process_on_the_same_core_is_seen():
    times = isolation.call(beside_a_hog, timeout_s=600)
    assert len(times.strains) == len(times.samples)
    if times.strains[0].waited is None:
        pytest.skip("the kernel does not count how long threads wait")
    assert len(quality.spoiled(times.strains)) >= len(times.samples) / 2
    reason = quality.disturbance(times.samples, times.strains, {})
    assert "other work had a core" in reason
    assert torch.get_num_threads() >= 1
