"""Two steps timed in turn: which caches they find."""

import torch

from sparselayers.convert.measure import LEAST, compare

CPU = torch.device("cpu")


def test_a_warm_sample_follows_calls_of_its_own(monkeypatch):
    """The clock is made up: a call takes 1, or 3 where the other one was called before."""
    now, last = [0.0], [""]

    def step(name):
        def call():
            now[0] += 1.0 if last[0] == name else 3.0
            last[0] = name

        return call

    monkeypatch.setattr("sparselayers.convert.measure.time.perf_counter", lambda: now[0])
    cold = compare(step("a"), step("b"), device=CPU, seconds=0)
    assert (cold.first, cold.second, cold.samples) == (3.0, 3.0, LEAST)
    warm = compare(step("a"), step("b"), device=CPU, seconds=0, warm=True)
    assert (warm.first, warm.second, warm.samples) == (1.0, 1.0, LEAST)
