"""Ranks: the processes that train one model together and have to stay alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_BLOCK = 2**20  # entries that a checksum looks at together: enough to be fast, few enough to fit


@dataclass(frozen=True)
class Ranks:
    """The processes of a `group`; with None, this process alone. All must make the same calls."""

    group: Any = None

    @property
    def number(self) -> int:
        """Which of them this process is, counted from 0."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of `tensor` over all ranks; it is overwritten."""
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean of `tensor` over all ranks; it is overwritten."""
        if self.group is None:
            return tensor
        return self.sum(tensor).div_(dist.get_world_size(self.group))

    def any(self, flags: list[bool], device: torch.device) -> list[bool]:
        """Return which of `flags` are True on some rank."""
        if self.group is None or not flags:
            return flags
        shared = torch.tensor(flags, dtype=torch.int32, device=device)
        return [count > 0 for count in self.sum(shared).tolist()]

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


def running() -> Ranks:
    """Return the ranks of the DistributedDataParallel that is in its forward pass, or this alone.

    Compilers see this process alone: what they trace does not know who calls it.
    """
    if not dist.is_available() or torch.compiler.is_compiling():
        return Ranks()
    ddp = torch.nn.parallel.DistributedDataParallel._get_active_ddp_module()  # type: ignore[no-untyped-call]
    return Ranks(None if ddp is None else ddp.process_group)


def _checksum(tensor: Tensor) -> Tensor:
    """A number that depends on every bit and on the order; products wrap around."""
    sizes = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().contiguous().view(sizes[tensor.element_size()]).flatten()
    total = torch.zeros((), dtype=torch.int64, device=bits.device)
    for start in range(0, bits.numel(), _BLOCK):
        block = bits[start : start + _BLOCK].long()
        places = torch.arange(start + 1, start + 1 + block.numel(), device=bits.device)
        total += ((block ^ (block >> 29)) * (2 * places * 0x9E3779B1 + 1)).sum()
    return total
