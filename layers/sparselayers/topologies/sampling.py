"""Draws without replacement, in O(draws) time and memory however large the range is."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.topologies.keys import contains


def distinct_integers(total: int, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw `count` distinct integers below `total`, uniformly; ascending."""
    device = device_of(generator)
    sizes = torch.tensor([total], device=device)
    return distinct_in_groups(sizes, torch.tensor([count], device=device), generator)


def distinct_in_groups(sizes: Tensor, counts: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw `counts[g]` distinct integers below `sizes[g]` for every group g, uniformly.

    `sizes` and `counts` are (groups,), int64. The groups are laid end to end: what comes back,
    ascending, is each integer plus the sizes of all groups before its own.
    """
    crowded = 2 * counts > sizes
    if not bool(crowded.any()):
        return _scattered(sizes, counts, generator)
    starts = sizes.cumsum(0) - sizes
    few = _scattered(sizes, counts.where(~crowded, 0), generator)
    # Of a crowded group the ones to leave out are drawn: at most as many as stay.
    sizes, counts, starts = sizes[crowded], counts[crowded], starts[crowded]
    kept = torch.ones(int(sizes.sum()), dtype=torch.bool, device=sizes.device)
    kept[_scattered(sizes, sizes - counts, generator)] = False
    shifts = starts - (sizes.cumsum(0) - sizes)
    many = kept.nonzero().squeeze(1).add_(shifts.repeat_interleave(counts))
    return ascending(torch.cat((few, many))) if few.numel() else many


def device_of(generator: torch.Generator | None) -> torch.device:
    """Where draws from `generator` are made: the CPU, unless it lives elsewhere."""
    return torch.device("cpu") if generator is None else generator.device


def ascending(keys: Tensor) -> Tensor:
    """Return `keys` (n,) sorted: on the CPU in place, for a third of the memory torch takes."""
    if keys.device.type != "cpu":
        return keys.sort().values
    keys.numpy().sort()
    return keys


def distinct(keys: Tensor) -> Tensor:
    """Return `keys` (n,) ascending and each once; they are sorted in place on the CPU."""
    keys = ascending(keys)
    repeats = keys[1:] == keys[:-1]
    if not bool(repeats.any()):
        return keys
    return keys[torch.cat((repeats.new_ones(1), ~repeats))]


def _scattered(sizes: Tensor, counts: Tensor, generator: torch.Generator | None) -> Tensor:
    """Do the work of `distinct_in_groups` where no group gives more than half of its integers.

    What was drawn before is drawn again until nothing is missing. Only the first draw is large;
    the rest is kept apart, so that the large one is sorted once and merged once.
    """
    starts = sizes.cumsum(0) - sizes
    drawn = distinct(_draw(starts, sizes, counts, generator))
    missing = counts - _per_group(drawn, starts, sizes)
    again = drawn[:0]
    while (short := missing.nonzero().squeeze(1)).numel():
        groups = starts[short], sizes[short]
        fresh = distinct(_draw(*groups, missing[short], generator))
        fresh = fresh[~(contains(drawn, fresh) | contains(again, fresh))]
        missing[short] -= _per_group(fresh, *groups)
        again = ascending(torch.cat((again, fresh)))
    return ascending(torch.cat((drawn, again))) if again.numel() else drawn


def _draw(
    starts: Tensor, sizes: Tensor, counts: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw with replacement. Of 2⁶² values, the remainder favours none by more than size / 2⁶²."""
    total = int(counts.sum())
    fresh = torch.randint(2**62, (total,), generator=generator, device=sizes.device)
    fresh %= sizes.repeat_interleave(counts, output_size=total)
    fresh += starts.repeat_interleave(counts, output_size=total)
    return fresh


def _per_group(keys: Tensor, starts: Tensor, sizes: Tensor) -> Tensor:
    """Count how many of the ascending `keys` lie in each group."""
    return torch.searchsorted(keys, starts + sizes) - torch.searchsorted(keys, starts)
