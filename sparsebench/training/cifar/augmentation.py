"""Images that are changed at random each time they are seen, so that more can be learnt of them.

Shifted by up to four pixels, with a border of the mean colour, and mirrored half of the time: the
standard augmentation of CIFAR-10 (He, Zhang, Ren, Sun, "Deep Residual Learning for Image
Recognition", 2016, section 4.2), there with a black border.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 4


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return normalised images (n, channels, height, width), each changed in its own way."""
    number, _, height, width = images.shape
    places = torch.randint(0, 2 * SHIFT + 1, (2, number), generator=generator)
    mirrored = torch.rand(number, generator=generator) < 0.5
    windows = F.pad(images, (SHIFT,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    top, left = places.to(images.device)
    shifted = windows[torch.arange(number, device=images.device), :, top, left]
    return torch.where(mirrored.to(images.device)[:, None, None, None], shifted.flip(3), shifted)
