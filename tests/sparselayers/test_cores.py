"""Whether other work had the cores: on made-up counts, and beside a process that never rests."""

import os

import pytest
import torch

from sparselayers import cores
from sparselayers.convert.measure import compare
from sparselayers.cores import Counts, Strain, Watch
from tests.hogs import sharing_a_core, work


@pytest.fixture
def counts(monkeypatch):
    """What the kernel is going to count, one after the other."""

    def counts(*values):
        values = iter([Counts(0.0, 0.0, 0, 0), *values])
        monkeypatch.setattr(Watch, "_read", lambda self: next(values))
        return Watch()

    return counts


def test_what_threads_wait_beyond_waking_counts(counts):
    watch = counts(Counts(1.0, 1.0, 10, 5), Counts(1.2, 1.0 + 10e-3, 12, 6))
    watch.begin()
    strain = watch.end(0.1)
    assert strain.cpu == pytest.approx(2.0)
    assert strain.waited == pytest.approx((10e-3 - 2 * cores._WAKE_S) / 0.1)
    assert strain.switches == 1
    assert strain.spoiled
    watch.close()


def test_waking_often_is_no_disturbance(counts):
    """Threads that sleep between products wait a moment for a core each time."""
    watch = counts(Counts(0.0, 0.0, 0, 0), Counts(0.1, 1000 * 20e-6, 1000, 0))
    watch.begin()
    assert not watch.end(0.1).spoiled
    watch.close()


def test_switches_tell_where_the_kernel_does_not_count_waiting():
    assert not Strain(cpu=1.0, waited=None, switches=0).spoiled
    assert Strain(cpu=1.0, waited=None, switches=5).spoiled


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_a_comparison_beside_a_process_on_the_same_core_is_disturbed():
    with sharing_a_core():
        times = compare(work, work, device=torch.device("cpu"), seconds=0.2)
    assert times.spoiled > 0.5
    assert times.disturbed
