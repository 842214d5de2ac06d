"""The heap stays with the process while a case is timed."""

import pytest

from sparsebench.measuring import allocator
from tests import fresh

IMPORTS = """
import resource
import torch
from sparsebench.measuring import allocator
"""
SCRIPT = """
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a, b = torch.ones(5 << 20), torch.ones(5 << 20)  # 20 MiB each
    del a, b
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
returned = [faults() for _ in range(10)][-1]
allocator.keep_freed()
# Aligned blocks leave gaps at first, ten times in some processes, which the next ones do not fit.
kept = [faults() for _ in range(40)][-1]
print(returned, kept)
"""
LARGE = SCRIPT.replace("5 << 20", "10 << 20").replace("20 MiB", "40 MiB")


@pytest.fixture(scope="module")
def said():
    """The faults of blocks of 20 and of 40 MiB, with what glibc hands back and with what is kept.

    By itself it hands back blocks of 20 MiB in some processes only. Fresh ones are told so.
    """
    if not allocator.can_keep():
        pytest.skip("not glibc")
    scripts = [SCRIPT + fresh.OVER, LARGE.replace("keep_freed()", "keep_everything()") + fresh.OVER]
    told = fresh.each(IMPORTS, scripts)
    assert [each.status for each in told] == [0, 0], told
    return [tuple(map(int, each.out.split())) for each in told]


def test_the_next_call_uses_again_what_was_freed(said):
    returned, kept = said[0]
    assert returned > 30  # pages of 2 MB where the system gives them by itself, else of 4 KB
    assert kept < 30


def test_blocks_of_any_size_are_used_again_where_everything_is_kept(said):
    """Without it such a block is mapped anew each time, as glibc has it by itself."""
    returned, kept = said[1]
    assert returned > 30
    assert kept < 30


def test_the_description_names_the_c_library():
    assert ("heap kept" in allocator.description()) == (allocator._function("mallopt") is not None)
