"""Peaks of memory, taken in a fresh process: what other tests left behind cannot matter.

`ru_maxrss` is no help there: on Linux a child's begins at its parent's resident size. Nor is the
heap of glibc, which keeps what was freed, up to a threshold that grows with what a program frees: a
peak so differs from run to run by the array that found a hole, or did not. With the fixed threshold
of fresh processes every array is mapped by itself and given back when it is freed.
"""

import json
import sys
from pathlib import Path

import pytest

from tests import fresh

_PRELUDE = """\
import json
from pathlib import Path


def resident(field="VmRSS"):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def begin():
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM starts at what is resident
    begin.base = resident("VmHWM")


def rise():
    return resident("VmHWM") - begin.base


"""

needed = pytest.mark.skipif(
    sys.platform != "linux" or not Path("/proc/self/clear_refs").exists(),
    reason="peaks of memory are read from /proc",
)


def of(script):
    """Run `script` in a fresh process and return what it prints, which is JSON.

    It finds `begin()`, after which `rise()` is how many bytes the peak has risen, `resident()`,
    what there is now, and the module `json`.
    """
    return json.loads(fresh.one(_PRELUDE + script))
