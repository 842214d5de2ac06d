"""How a product of a shape and type is launched: decided once, with the best tile, and kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
import triton

from sparselayers import accelerator
from sparselayers.backends.triton_kernels import multiply
from sparselayers.backends.triton_kernels.tiles import Tile
from sparselayers.backends.triton_kernels.tuning import TUNER

K = TypeVar("K", bound=Hashable)
P = TypeVar("P")

_MOST = 256  # of one matrix: batches of many lengths
_INTERPRETED = not isinstance(multiply.multiply, triton.JITFunction)


def run(
    call: Callable[[P], None],
    key: K,
    plans: dict[K, P],
    device: torch.device,
    *,
    tiles: Callable[[], Sequence[Tile]],
    make: Callable[[Tile], P],
    words: Callable[[], str],
) -> None:
    """Run `call` with the plan that `plans` has for `key`.

    Where it has none, one is made by `make` with the best of `tiles` for the class of shapes that
    `words` names; its kernels are compiled for it.
    """
    plan = plans.get(key)
    if _INTERPRETED or accelerator.of(device).is_current():
        call(plan or _planned(call, key, plans, device, tiles(), make, words))
        return
    with torch.cuda.device(device):  # Triton launches on the current device and stream
        call(plan or _planned(call, key, plans, device, tiles(), make, words))


def _planned(
    call: Callable[[P], None],
    key: K,
    plans: dict[K, P],
    device: torch.device,
    tiles: Sequence[Tile],
    make: Callable[[Tile], P],
    words: Callable[[], str],
) -> P:
    if _INTERPRETED:
        return make(tiles[0])
    made = {tile: make(tile) for tile in tiles}
    chosen = TUNER.choose(words(), tiles, lambda tile: call(made[tile]), accelerator.of(device))
    if chosen is None:
        return made[tiles[0]]
    if len(plans) >= _MOST:
        plans.clear()
    return plans.setdefault(key, made[chosen])
