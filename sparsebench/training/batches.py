"""The batches of an epoch: which images, or windows of text, make which step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sparsebench.training import mlp
from sparsebench.training.cifar.augmentation import crop_and_flip
from sparsebench.training.datasets import Data, Text
from sparsebench.training.processes import ALONE, Processes
from sparsebench.training.settings import CifarSetting, GPTSetting, Setting
from sparsebench.training.text import windows


def batches(
    data: Data,
    setting: Setting,
    epoch: int,
    *,
    first: int = 0,
    processes: Processes = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of `epoch` from number `first` on; a last one that is not full is dropped.

    Of each batch every process gets its part. The order depends on the seed and the epoch alone,
    and how images are changed on the number of the batch besides, so it needs no state to go on.
    Of text they are windows, without an end where time ends the epoch.
    """
    if isinstance(data, Text):
        assert isinstance(setting, GPTSetting)
        yield from windows.windows(data, setting, epoch, first=first)
        return
    generator = torch.Generator().manual_seed(1_000_003 * setting.seed + epoch)
    order = torch.randperm(len(data.train_labels), generator=generator).to(setting.device)
    for number in range(first, steps_per_epoch(data, setting)):
        chosen = processes.part(order[number * setting.batch : (number + 1) * setting.batch])
        # Whole images are copied; indexing would copy number after number.
        images = data.train_images.index_select(0, chosen)
        if isinstance(setting, CifarSetting) and setting.augmentation == "crop_and_flip":
            generator.manual_seed(1_000_003 * (1_000_003 * setting.seed + epoch) + number)
            images = crop_and_flip(images, generator)
        yield images, data.train_labels.index_select(0, chosen)


def steps_per_epoch(data: Data, setting: Setting) -> int:
    """Return the number of full batches, of text the setting's; ValueError where there is none."""
    if isinstance(data, Text):
        assert isinstance(setting, GPTSetting)
        windows.check(data, setting)
        return setting.steps_per_epoch
    if steps := len(data.train_labels) // setting.batch:
        return steps
    raise ValueError(
        f"batch must be at most {len(data.train_labels)}, the images of {data.name}; "
        f"got {setting.batch}"
    )


def samples(data: Data) -> tuple[Tensor, Tensor] | None:
    """Return images and labels by which connections may be chosen; None of text."""
    if isinstance(data, Text):
        return None
    return data.train_images[: mlp.SAMPLES], data.train_labels[: mlp.SAMPLES]
