"""A process that shares a core with this one, and never rests."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

HOG = "print(flush=True)\nwhile True: pass"  # on the core of the process that starts it


@contextmanager
def sharing_a_core():
    """Have this thread, meanwhile, on one core that another process uses too."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        with subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE) as hog:
            hog.stdout.readline()
            try:
                yield
            finally:
                hog.kill()
    finally:
        os.sched_setaffinity(0, usable)


def work():
    """Take 5 ms of CPU time."""
    end = time.process_time() + 5e-3
    while time.process_time() < end:
        pass
