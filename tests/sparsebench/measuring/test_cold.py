"""Weights from memory: several layers in turn, and caches that are written over before each."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sparsebench.measuring import cold, timing, worker
from sparsebench.measuring.refusals import refusal
from tests.sparsebench.cases.test_case import CASE

COLD = replace(CASE, implementation="ours", cache="cold", threads=torch.get_num_threads())


@pytest.mark.parametrize("phase", ["inference", "train_step"])
def test_a_turn_is_a_call_of_each_layer(phase, tmp_path, monkeypatch):
    monkeypatch.setattr(cold, "last_level", lambda: 1 << 16)
    case = replace(COLD, phase=phase)
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.status == "ok", outcome.message
    assert outcome.times.calls_per_sample == cold.LAYERS
    assert len(outcome.times.samples) == timing.LEAST_SAMPLES


def test_where_memory_is_short_there_are_fewer_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(cold.memory, "available", lambda device: 0)
    worker.prepare(COLD, tmp_path)
    assert worker.measure(COLD, tmp_path, 1e-4, None).times.calls_per_sample == 1


def test_caches_are_written_over_before_each_turn():
    told = []
    steps = [lambda: told.append("a"), lambda: told.append("b")]
    times = timing.measure_cold(
        steps, threads=torch.get_num_threads(), seconds=0.0, evict=lambda: told.append("over")
    )
    assert told == ["a", "b", *["over", "a", "b"] * timing.LEAST_SAMPLES]
    assert times.calls == told.count("a")  # what a layer's weights are moved by
    assert len(times.samples) == len(times.strains) == timing.LEAST_SAMPLES


def test_all_caches_of_the_last_level_count(tmp_path, monkeypatch):
    """Two processors with a cache of the third level each, and one of the second of their own."""
    caches = (("0", "2", "512K", "0"), ("0", "3", "32768K", "0-7"), ("8", "3", "32768K", "8-15"),
              ("1", "3", "32768K", "0-7"))  # fmt: skip
    for cpu, level, size, shared in caches:
        folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{level}"
        folder.mkdir(parents=True)
        for name, value in (("level", level), ("size", size), ("shared_cpu_list", shared)):
            (folder / name).write_text(f"{value}\n")
    monkeypatch.setattr(cold, "_CPUS", tmp_path)
    assert cold.last_level() == 2 * 32 << 20
    monkeypatch.setattr(cold, "_CPUS", Path("/nowhere"))
    assert cold.last_level() == 64 << 20


def test_gradients_are_kept_where_the_c_library_can_be_told_so(monkeypatch):
    case = replace(CASE, phase="train_step", gradients="kept")
    monkeypatch.setattr("sparsebench.measuring.allocator.can_keep", lambda: False)
    assert "cannot be told to keep what is freed" in refusal(case)
    monkeypatch.setattr("sparsebench.measuring.allocator.can_keep", lambda: True)
    assert refusal(case) is None
