"""Text: characters as numbers in memory, for networks that predict the next one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# A character is its place here, whatever text it comes from; all others are one, the last.
ALPHABET = "\n\t" + "".join(map(chr, range(32, 127)))
OTHER = len(ALPHABET)
SIZE = OTHER + 1

SHAPE: tuple[int, ...] = ()  # of what a network takes at each place of a window: a number

_NUMBERS = np.full(128, OTHER, dtype=np.uint8)
_NUMBERS[[ord(character) for character in ALPHABET]] = range(OTHER)


@dataclass(frozen=True)
class Text:
    """Characters (n,) as numbers below SIZE in uint8, to train on and to test on, on one device.

    `name` is what records and tables call them, and `note` is empty, as those of a `Dataset`.
    """

    name: str
    train: Tensor
    test: Tensor
    note: str = ""

    @property
    def sizes(self) -> tuple[int, int]:
        """How many characters there are to train on, and how many to test on."""
        return len(self.train), len(self.test)

    def to(self, device: torch.device | str) -> Text:
        """Return the same text on `device`."""
        return Text(self.name, self.train.to(device), self.test.to(device), self.note)


def encode(text: str) -> Tensor:
    """Return the numbers of the characters of `text`, (n,) in uint8."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    # 127, DEL, is one of the others.
    return torch.from_numpy(_NUMBERS[np.minimum(codes, 127)])
