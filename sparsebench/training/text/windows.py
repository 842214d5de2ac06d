"""Windows of a text: which characters make which step, and which are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from sparsebench.training.datasets import Text
from sparsebench.training.settings import GPTSetting

TESTED = 65_536  # characters that are predicted in a test, at most
TEST_BATCH = 32  # windows


def windows(
    data: Text, setting: GPTSetting, epoch: int, *, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of `epoch` from number `first` on: characters, and those that follow them.

    Both (batch, context) in int64, at places drawn uniformly from the seed and the epoch. There is
    no end to them where time ends an epoch, else its steps do.
    """
    check(data, setting)
    generator = torch.Generator().manual_seed(1_000_003 * setting.seed + epoch)
    places = len(data.train) - setting.context
    for number in count():
        if number == setting.steps_per_epoch and not setting.seconds:
            return
        starts = torch.randint(places, (setting.batch,), generator=generator)
        if number >= first:
            yield _at(starts, data.train, setting.context)


def tested_windows(data: Text, setting: GPTSetting) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the windows that are tested on, TEST_BATCH at a time: as `windows` does.

    They follow one another without an overlap; of more than TESTED characters they are the ones
    at even distances.
    """
    check(data, setting)
    every = (len(data.test) - 1) // setting.context
    kept = min(every, max(1, TESTED // setting.context))
    starts = torch.arange(kept) * every // kept * setting.context
    for first in range(0, kept, TEST_BATCH):
        yield _at(starts[first : first + TEST_BATCH], data.test, setting.context)


def check(data: Text, setting: GPTSetting) -> None:
    """Raise ValueError where the text is shorter than a window."""
    shortest = min(data.sizes)
    if setting.context >= shortest:
        raise ValueError(
            f"context must be below {shortest}, the characters of the shorter part of {data.name}; "
            f"got {setting.context}"
        )


def _at(starts: Tensor, text: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Return the windows that begin at `starts`, and the same a character later."""
    places = starts[:, None] + torch.arange(context + 1)
    block = text[places.to(text.device)].long()
    return block[:, :-1], block[:, 1:]
