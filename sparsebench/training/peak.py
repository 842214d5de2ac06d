"""The peak memory of training, taken of a twin of the network, before the one that is timed."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import islice

import torch

from sparsebench.measuring import memory
from sparsebench.training import models
from sparsebench.training.batches import batches
from sparsebench.training.datasets import Dataset
from sparsebench.training.evaluation import TEST_BATCH
from sparsebench.training.settings import MLPSetting, Setting
from sparsebench.training.state import Progressing

STEPS = 4
_METHOD = f"of building, {STEPS} steps{{}} and a batch of tests"


def peak_of(setting: Setting, data: Dataset) -> tuple[int, str]:
    """Return the bytes that training on a CPU adds at most, and how they were taken.

    They are those of a network that is built, takes steps, is rewired where the setting is, and is
    tested. By itself, so that memory can be handed out in a way that shows what is in use: in a
    run that is timed freed blocks stay with the process, as many as chance has it.
    """
    short, rewired = setting, ""
    if isinstance(setting, MLPSetting) and setting.rewiring != "none":
        short, rewired = replace(setting, update_every=STEPS // 2), ", a rewiring"
    numbers = torch.get_rng_state()

    def whole() -> None:
        samples = data.train_images[: models.SAMPLES], data.train_labels[: models.SAMPLES]
        progress = Progressing.start(short, samples=samples)
        for images, labels in islice(batches(data, short, 0), STEPS):
            progress.step(images, labels)
        progress.network.eval()
        with torch.no_grad():
            progress.network(data.test_images[:TEST_BATCH])

    peak, method = memory.peak(whole, setting.device, forget=gc.collect)
    torch.set_rng_state(numbers)
    return peak, f"{method} {_METHOD.format(rewired)}"
