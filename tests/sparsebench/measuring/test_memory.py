"""Peaks against allocations of known size, in fresh processes: where earlier tests have freed
memory, some of it would be used again."""

import itertools
import mmap
import statistics
import time
from pathlib import Path

import pytest
import torch

from sparsebench.measuring import isolation, memory

MB = 1 << 20

# The system hands out memory in pages of up to 2 MB, a few of which the interpreter may touch.
NOISE = 12 * MB


def allocate(megabytes):
    return torch.ones(megabytes * MB, dtype=torch.uint8)


def fresh(function):
    return isolation.call(function, timeout_s=600)


def of_calls():
    kept = allocate(50)  # is there before: does not count
    freed = memory.peak(lambda: (allocate(256), None)[1], "cpu")
    held = memory.peak(lambda: allocate(256), "cpu")
    return freed, held, kept.numel()


def test_the_peak_is_what_a_call_allocates():
    (freed, method), (held, _), kept = fresh(of_calls)
    assert freed == pytest.approx(256 * MB, abs=NOISE)
    assert held == pytest.approx(256 * MB, abs=NOISE)
    assert method in ("VmPeak", "RSS sampled every ms")
    assert kept == 50 * MB


def large_then_small():
    memory.peak(lambda: (allocate(256), None)[1], "cpu")
    again, _ = memory.peak(lambda: (allocate(64), None)[1], "cpu")
    return again


def test_a_peak_that_is_over_is_forgotten():
    again = fresh(large_then_small)
    assert again == pytest.approx(64 * MB, abs=NOISE)


def allocate_for_a_while():
    kept = allocate(256)
    time.sleep(0.5)  # a busy machine lets the thread that samples wait
    del kept


def sampled():
    memory._STATUS = Path("/missing/status")
    memory.peak(allocate_for_a_while, "cpu")  # touches code for the first time, which counts
    return memory.peak(allocate_for_a_while, "cpu")


def test_sampling_serves_where_the_system_keeps_no_peak():
    peak, method = fresh(sampled)
    assert method == "RSS sampled every ms"
    assert peak == pytest.approx(256 * MB, abs=NOISE)


def before_with_and_after():
    before = memory.held("cpu")
    kept = allocate(128)
    between = memory.held("cpu")
    del kept
    return before, between, memory.held("cpu")


def test_what_is_held_counts_until_it_is_freed():
    before, between, after = fresh(before_with_and_after)
    assert between - before == pytest.approx(128 * MB, abs=NOISE)
    assert abs(after - before) < NOISE


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    unlimited = memory.available("cpu")
    assert unlimited > 0
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    assert memory.available("cpu") == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available("cpu") > 1000


def reading_a_file():
    """Touch pages of a mapped file within the step: pages of code that come back look the same."""
    allocate(8)  # starts threads
    library = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 64 * MB, access=mmap.ACCESS_READ) as mapped,
    ):
        return memory.peak(lambda: (sum(mapped[::4096]), allocate(8), None)[-1], "cpu")[0]


def test_pages_of_files_do_not_count():
    assert fresh(reading_a_file) == pytest.approx(8 * MB, abs=MB)


def of_freed_blocks():
    """Leave holes in the heap, of all sizes, and then take blocks that fit into them."""
    kept = [torch.ones(size * 256) for size in range(1, 3000)]
    del kept[::2]
    return memory.peak(lambda: [torch.ones(1 << 14) for _ in range(50)], "cpu")[0]


@pytest.mark.slow
def test_what_was_free_before_counts_too():
    assert fresh(of_freed_blocks) == pytest.approx(50 * (1 << 16), rel=0.1)


def of_small_ones():
    def step():
        return torch.ones(64, 64)

    step()
    kept, held = [], [memory.held("cpu")]
    for _ in range(9):
        kept.append(step())
        held.append(memory.held("cpu"))
    # The interpreter takes a kilobyte for itself now and then, but not at every step.
    each = statistics.median(after - before for before, after in itertools.pairwise(held))
    return each, memory.peak(step, "cpu", forget=lambda: None)[0], len(kept)


def test_a_small_layer_takes_what_it_has():
    """Of 16 KiB: not the pages around it, nor those that trimming the heap gave back."""
    held, rise, _ = fresh(of_small_ones)
    assert held == pytest.approx(1 << 14, abs=512)
    assert rise <= 3 << 13  # of which a page or some may lie where small things were freed


def of_pages():
    def step():
        torch.empty(1 << 11)

    step()
    return [memory.peak(step, "cpu", forget=lambda: None)[0] for _ in range(3)]


def test_what_is_freed_within_a_step_counts_to_the_page():
    """8 KiB: buffers in which the system's answer was read once hid three pages of it."""
    for rise in fresh(of_pages):
        assert 1 << 13 <= rise <= 1 << 14


def test_timed_steps_are_given_memory_as_usual(monkeypatch):
    asked = []
    monkeypatch.setattr(memory.allocator, "exact", lambda: asked.append(1))
    memory.peak(lambda: allocate(1), "cpu", alone=False)
    assert not asked


def test_where_the_allocator_is_another_resident_pages_are_counted(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    assert memory.allocator.in_use() is None
    assert memory.held("cpu") > 10 * MB


def of_a_mapped_file(path):
    """Map 96 MB of a file and read 64 of them, having allocated 256 and freed them before."""
    allocate(256)

    def read():
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
            sum(pages[at] for at in range(0, 64 * MB, mmap.PAGESIZE))

    return memory.resident_peak(read)


def test_of_a_file_counts_what_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(96 * MB))
    rise, method = isolation.call(of_a_mapped_file, path, timeout_s=600)
    assert rise == pytest.approx(64 * MB, abs=NOISE)
    assert method in ("VmHWM", "RSS sampled every ms")
