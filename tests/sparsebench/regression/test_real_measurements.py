"""The verdict about real times, taken in processes of their own while another one is busy.

What is slower on purpose has each native product take 30% longer. Kept short: one workload, and
processes forked from one that has PyTorch. `benchmarks/trial.py` does it in full, with builds and
fresh interpreters; docs/performance-check.md has its counts.
"""

import multiprocessing
import os
import time

import pytest

from sparsebench.measuring import isolation
from sparsebench.regression import turns, yardstick
from sparselayers.backends import BACKENDS

NAME = "training-784-2000-90%-b64"
TRIES = 3  # on a machine that others use

pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="needs the kernels"
)


def measured(names, factor):
    """What the yardstick finds, with native products that take `factor` times as long."""
    native = type(BACKENDS["native"])
    for name in ("forward", "backward"):
        setattr(native, name, _slower(getattr(native, name), factor))
    return yardstick.run(names, 0.03, rivals=False)


def _slower(product, factor):
    def slow(*args, **kwargs):
        begin = time.thread_time()
        answer = product(*args, **kwargs)
        end = begin + factor * (time.thread_time() - begin)
        while time.thread_time() < end:
            pass
        return answer

    return slow


def spin(parent):
    while os.getppid() == parent:
        pass


@pytest.fixture
def busy():
    """Keep a core busy."""
    other = multiprocessing.get_context("spawn").Process(target=spin, args=(os.getpid(),))
    other.start()
    yield
    other.kill()
    other.join()


def verdict(factor):
    """The verdict on a head whose products take `factor` times as long as the base's."""

    def probe(side, names):
        slower = factor if side == "head" else 1.0
        return isolation.call(measured, names, slower, timeout_s=300)

    (found,) = turns.judged(probe, [NAME])
    return found.verdict


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_thirty_percent_is_caught_and_the_same_is_not():
    assert verdict(1.0) != "slower"
    assert any(verdict(1.3) == "slower" for _ in range(TRIES))
