"""What training shows of its batches: all of them, and not by asking for each."""

import io

from rich.console import Console

from sparsebench.training import progress
from sparsebench.training.progress import Display
from sparsebench.training.records import Epoch
from sparsebench.training.settings import MLPSetting

SETTING = MLPSetting(experiment="x", row="sparse", epochs=2)


def test_every_batch_is_counted_and_few_are_told_one_by_one(monkeypatch):
    now, told = [0.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    written = io.StringIO()
    with Display(Console(file=written), [SETTING]) as shown:
        bar = shown._bar
        monkeypatch.setattr(bar, "advance", lambda task, by=1: told.append((task, by)))
        shown.begin(SETTING, epochs_done=0, steps_per_epoch=100)
        told.clear()
        for _ in range(100):
            shown.step()
            now[0] += 0.003
        shown.epoch(1, Epoch(loss=1.0, accuracy=0.5))
    batches = [by for task, by in told if task == shown._run]
    assert sum(batches) == 100
    assert len(batches) < 10
    assert "epoch 1/2, loss 1.0000" in written.getvalue()
