"""The heap stays with the process while a case is timed."""

import os
import subprocess
import sys

import pytest

from sparsebench.measuring import allocator

SCRIPT = """
import resource, sys
import torch
from sparsebench.measuring import allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a, b = torch.ones(5 << 20), torch.ones(5 << 20)  # 20 MiB each
    del a, b
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
returned = [faults() for _ in range(10)][-1]
allocator.keep_freed()
# Aligned blocks leave gaps at first, which the next ones do not fit.
kept = [faults() for _ in range(10)][-1]
print(returned, kept)
"""


def test_the_next_call_uses_again_what_was_freed():
    if allocator._function("mallopt") is None:
        pytest.skip("not glibc")
    # By itself glibc hands such blocks back in some processes only. Told so, it does in all.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    returned, kept = map(int, run.stdout.split())
    assert returned > 30  # pages of 2 MB where the system gives them by itself, else of 4 KB
    assert kept < 30


LARGE = SCRIPT.replace("5 << 20", "10 << 20").replace("20 MiB", "40 MiB")


def test_blocks_of_any_size_are_used_again_where_everything_is_kept():
    """Without it such a block is mapped anew each time, as glibc has it by itself."""
    if not allocator.can_keep():
        pytest.skip("not glibc")
    script = LARGE.replace("keep_freed()", "keep_everything()")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    returned, kept = map(int, run.stdout.split())
    assert returned > 30
    assert kept < 30


def test_the_description_names_the_c_library():
    assert ("heap kept" in allocator.description()) == (allocator._function("mallopt") is not None)
