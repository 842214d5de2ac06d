"""Peaks against allocations of known size."""

import pytest
import torch

from sparsebench.measuring import memory

MB = 1 << 20

# The system hands out memory in pages of up to 2 MB, a few of which the interpreter may touch (or
# give back) meanwhile, in a process that ran a thousand tests before.
NOISE = 12 * MB


def allocate(megabytes):
    return torch.ones(megabytes * MB, dtype=torch.uint8)


def test_the_peak_is_what_a_call_allocates():
    kept = allocate(50)  # is there before: does not count
    freed, method = memory.peak(lambda: (allocate(256), None)[1], "cpu")
    held, _ = memory.peak(lambda: allocate(256), "cpu")
    assert freed == pytest.approx(256 * MB, abs=NOISE)
    assert held == pytest.approx(256 * MB, abs=NOISE)
    assert method in ("VmHWM", "RSS sampled every ms")
    assert kept.numel() == 50 * MB


def test_a_peak_that_is_over_is_forgotten():
    memory.peak(lambda: (allocate(256), None)[1], "cpu")
    again, _ = memory.peak(lambda: (allocate(64), None)[1], "cpu")
    assert again == pytest.approx(64 * MB, abs=NOISE)


def test_sampling_serves_where_the_system_keeps_no_peak(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    peak, method = memory.peak(lambda: allocate(256), "cpu")
    assert method == "RSS sampled every ms"
    assert peak == pytest.approx(256 * MB, abs=NOISE)


def test_what_is_held_counts_until_it_is_freed():
    before = memory.held("cpu")
    kept = allocate(128)
    assert memory.held("cpu") - before == pytest.approx(128 * MB, abs=NOISE)
    del kept
    assert abs(memory.held("cpu") - before) < NOISE


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
