"""The peak memory of training, taken of a twin of the network, before the one that is timed."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import islice

import torch

from sparsebench.measuring import memory
from sparsebench.training.batches import batches, samples
from sparsebench.training.datasets import Data
from sparsebench.training.evaluation import one_batch
from sparsebench.training.settings import GPTSetting, MLPSetting, Setting
from sparsebench.training.state import Progressing

STEPS = 4
_METHOD = f"of building, {STEPS} steps{{}} and a batch of tests"


def peak_of(setting: Setting, data: Data) -> tuple[int, str]:
    """Return the bytes that training on a CPU adds at most, and how they were taken.

    They are those of a network that is built, takes steps, is rewired where the setting is, and is
    tested. By itself, so that memory can be handed out in a way that shows what is in use: in a
    run that is timed freed blocks stay with the process, as many as chance has it.
    """
    short, rewired = setting, ""
    if isinstance(setting, MLPSetting | GPTSetting) and setting.rewiring != "none":
        short, rewired = replace(setting, update_every=STEPS // 2), ", a rewiring"
    numbers = torch.get_rng_state()

    def whole() -> None:
        progress = Progressing.start(short, samples=samples(data))
        for images, labels in islice(batches(data, short, 0), STEPS):
            progress.step(images, labels)
        progress.network.eval()
        with torch.no_grad():
            progress.network(one_batch(data, short))

    peak, method = memory.peak(whole, setting.device, forget=gc.collect)
    torch.set_rng_state(numbers)
    return peak, f"{method} {_METHOD.format(rewired)}"
