"""Times: of the right number of calls, on the right number of threads."""

import time
from functools import partial

import pytest
import torch

from sparsebench.measuring import timing


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_samples_are_seconds_per_call():
    times = timing.measure(lambda: time.sleep(2e-3), device="cpu", threads=1, seconds=0.02)
    assert 1 <= times.calls_per_sample <= 3
    assert len(times.samples) >= timing.LEAST_SAMPLES
    assert all(sample >= 2e-3 for sample in times.samples)
    assert times.wall == []


def test_every_call_is_counted():
    calls = 0

    def step():
        nonlocal calls
        calls += 1
        time.sleep(1e-3)

    times = timing.measure(step, device="cpu", threads=1, seconds=0.01, calls=5)
    assert times.calls_per_sample == 5
    # One call tells whether they are slow, one block warms up.
    assert calls == 1 + 5 * (1 + len(times.samples))


def test_slow_calls_are_few(monkeypatch):
    monkeypatch.setattr(timing, "SLOW_S", 0.01)
    times = timing.measure(lambda: time.sleep(0.02), device="cpu", threads=1, seconds=0.001)
    assert len(times.samples) == 1


def test_the_threads_are_set():
    seen = set()
    timing.measure(lambda: seen.add(torch.get_num_threads()), device="cpu", threads=1, seconds=1e-3)
    assert seen == {1}


def test_what_is_compared_is_timed_in_turns():
    called = []

    def step(name):
        called.append(name)
        time.sleep(2e-3)

    steps = {name: partial(step, name) for name in "ab"}
    times = timing.in_turns(steps, rounds=3, seconds=1e-3)
    assert {name: len(taken.samples) for name, taken in times.items()} == {"a": 3, "b": 3}
    assert {name: len(taken.strains) for name, taken in times.items()} == {"a": 3, "b": 3}
    assert all(sample >= 2e-3 for taken in times.values() for sample in taken.samples)
    assert called[-6:] == ["a", "b"] * 3


def test_single_calls_take_turns_five_times_at_least():
    called = []
    steps = {name: partial(called.append, name) for name in "ab"}
    times = timing.single_calls(steps, seconds=0.0)
    assert called == ["a", "b"] * 6  # the first warms up
    assert {name: len(samples) for name, samples in times.items()} == {"a": 5, "b": 5}
