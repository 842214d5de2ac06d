"""A core that is kept busy is busy until the end, and no longer."""

import time

import psutil

from sparsebench.measuring.busy_core import busy_core


def test_a_process_of_its_own_is_busy_and_ends():
    before = set(psutil.Process().children())
    with busy_core():
        (other,) = set(psutil.Process().children()) - before
        end = time.monotonic() + 30
        while other.cpu_times().user < 0.1 and time.monotonic() < end:
            time.sleep(0.01)
        assert other.cpu_times().user >= 0.1
    assert not other.is_running()
