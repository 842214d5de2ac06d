"""Ranks: the processes that train one model together and have to rewire it alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """The processes of a `group`; with None, this process alone. All must make the same calls."""

    group: Any = None

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of `tensor` over all ranks; it is overwritten."""
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def of_first(self, number: int, device: torch.device) -> int:
        """Return the first rank's `number`, on every rank."""
        if self.group is None:
            return number
        shared = torch.tensor([number], device=device)
        dist.broadcast(shared, group=self.group, group_src=0)
        return int(shared)

    def check(self, what: str, *tensors: Tensor) -> None:
        """Raise RuntimeError where a rank's tensors are not, bit for bit, those of the others."""
        if self.group is None:
            return
        own = torch.stack([_checksum(tensor) for tensor in tensors])
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(gathered, own, group=self.group)
        sums = torch.stack(gathered)
        different = (sums != sums[0]).any(1).nonzero().flatten().tolist()
        if different:
            raise RuntimeError(
                f"{what} on rank {', '.join(map(str, different))} and on rank 0 differ: ranks must "
                "start from the same weights and connections and take the same steps"
            )


def _checksum(tensor: Tensor) -> Tensor:
    """A number that depends on every bit and on the order; products wrap around."""
    sizes = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().contiguous().view(sizes[tensor.element_size()]).long()
    places = torch.arange(1, bits.numel() + 1, device=bits.device)
    return ((bits ^ (bits >> 29)) * (2 * places * 0x9E3779B1 + 1)).sum()
