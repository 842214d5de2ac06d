"""A core that is kept busy on purpose: for trials of what is done about other work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Ends with the process that asked for it, however that ends.
_SPIN = """
import os
while os.getppid() == {parent}:
    for _ in range(10**6):
        pass
"""


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy meanwhile, by a process that does nothing else."""
    script = _SPIN.format(parent=os.getpid())
    with subprocess.Popen([sys.executable, "-S", "-c", script]) as other:
        try:
            yield
        finally:
            other.kill()
