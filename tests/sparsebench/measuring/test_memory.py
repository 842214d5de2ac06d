"""Peaks against allocations of known size, in fresh processes: where earlier tests have freed
memory, some of it would be used again."""

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
    assert method in ("VmHWM", "RSS sampled every ms")
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
    memory._CLEAR_REFS = Path("/missing/clear_refs")
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
