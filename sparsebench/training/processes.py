"""Processes: those that torchrun starts, which train one network together."""

from __future__ import annotations

import inspect
import io
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from sparsebench.errors import InputError
from sparselayers.ranks import Ranks

T = TypeVar("T")


class ProcessError(RuntimeError):
    """One of several processes failed, and takes the others with it: says which, and why."""


@dataclass
class Traffic:
    """What this process has given to be summed over all of them, in bytes of gradients."""

    gradients: int = 0


@dataclass(frozen=True)
class Processes:
    """The processes that train a network together; by default this one alone.

    Each sees an equal part of every batch, so that the batch is the same however many they are.
    All of them make the same calls in the same order.
    """

    rank: int = 0
    size: int = 1
    rank_on_host: int = 0
    # torchrun's, which outlives the processes that it starts anew
    store: Store | None = field(default=None, compare=False)
    traffic: Traffic = field(default_factory=Traffic, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    @property
    def ranks(self) -> Ranks:
        """All processes, as the layers know them."""
        return Ranks(dist.group.WORLD if self.size > 1 else None)

    def part(self, of: Tensor) -> Tensor:
        """Return this process's part of the entries of a tensor."""
        return of[self.rank :: self.size]

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return what computes as `network` and averages its gradients over all processes.

        Gradients are all that it communicates: buffers need not be, as connections are rewired
        alike and duty cycles are summed where they are counted. Their bytes are counted in
        `traffic`. Raises RuntimeError where the processes begin with different networks.
        """
        if self.size == 1:
            return network
        state = [tensor for tensor in network.state_dict().values() if tensor.numel()]
        self.ranks.check("the network", *state)
        parallel = DistributedDataParallel(network, **_BUFFERS_STAY)
        # Without annotations: DDP compares them with types, and here they are strings.
        parallel.register_comm_hook(self.traffic, lambda traffic, bucket: _counted(traffic, bucket))
        return parallel

    def of_first(self, make: Callable[[], T]) -> T:
        """Return, in every process, what `make` returns in the first, where alone it is called."""
        if self.size == 1:
            return make()
        made = [make() if self.first else None]
        dist.broadcast_object_list(made, src=0, device=torch.device("cpu"))
        return cast(T, made[0])

    def once(self, make: Callable[[], None]) -> None:
        """Call `make` in the first process, unless one before it did that torchrun has replaced."""
        if self.first and not (self.store is not None and self.store.check(["made"])):
            make()
            if self.store is not None:
                self.store.set("made", "")

    def file(self, path: Path) -> Path | BinaryIO | None:
        """Return the first process's file at `path` for reading; None where it has none."""
        if self.size == 1:
            return path if path.exists() else None
        content = self.of_first(lambda: path.read_bytes() if path.exists() else None)
        return None if content is None else io.BytesIO(content)

    def together(self, make: Callable[[], T]) -> T:
        """Return what `make` returns here; the first of a host goes ahead of the others there.

        Raises InputError in all processes where `make` raises it in one of them.
        """
        if self.size == 1:
            return make()
        made: list[T] = []
        message = ""
        for ahead in (True, False):
            if ahead == (self.rank_on_host == 0):
                try:
                    made.append(make())
                except InputError as error:
                    message = str(error)
            dist.barrier()
        messages: list[Any] = [None] * self.size
        dist.all_gather_object(messages, message)
        if failed := [(rank, text) for rank, text in enumerate(messages) if text]:
            rank, text = failed[0]
            raise InputError(text if len(failed) == self.size else f"process {rank}: {text}")
        return made[0]


ALONE = Processes()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Yield the processes that torchrun has started, this one among them; or this one alone.

    They communicate through gloo, and those with GPUs through nccl, each with a GPU of its own.
    Raises InputError where there are fewer GPUs than processes on this host.

    From here on SIGTERM ends this process at once: torchrun sends it after another one died, and
    waits 30 seconds, while a handler of Python's would wait for that other one.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        yield ALONE
        return
    on_host = int(os.environ.get("LOCAL_RANK", "0"))
    if device != "cpu":
        if on_host >= torch.cuda.device_count():
            raise InputError(
                f"process {on_host} of this host has no GPU of its own: there are "
                f"{torch.cuda.device_count()}; start as many processes, or choose --device cpu"
            )
        torch.cuda.set_device(on_host)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    store, rank, size = next(rendezvous("env://"))
    dist.init_process_group(
        "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl",
        store=PrefixStore(name_of_start(store, rank, size), store),
        rank=rank,
        world_size=size,
    )
    try:
        yield Processes(rank, size, on_host, store)
    finally:
        dist.destroy_process_group()


def name_of_start(
    store: Store, rank: int, size: int, *, within: timedelta = timedelta(minutes=10)
) -> str:
    """Return a name of this start of all processes, the same in each and never used before.

    torchrun keeps its store when it starts processes anew, and with it the addresses of those that
    are gone, which the new ones would try to reach. Its count of restarts does not tell starts
    apart: each host counts its own. So the first process chooses a name, and gives it to those that
    ask: with names of their own, as the store still has what earlier ones have asked.

    Raises ProcessError in the first where another has not asked `within` that time.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"asks/{rank}", own)
        name: str = store.get(f"answer/{own}").decode()
        store.set(f"{name}/{rank}", "")
        return name
    until = time.monotonic() + within.total_seconds()
    for other in range(1, size):
        while not store.check([f"{own}/{other}"]):
            store.set(f"answer/{store.get(f'asks/{other}').decode()}", own)
            if time.monotonic() > until:
                raise ProcessError(f"process {other} did not join within {within}")
            time.sleep(0.02)
    return own


def _counted(traffic: Traffic, bucket: Any) -> torch.futures.Future[Tensor]:
    """Average a bucket of gradients, and count its bytes."""
    assert dist.group.WORLD is not None
    traffic.gradients += bucket.buffer().nbytes
    return allreduce_hook(dist.group.WORLD, bucket)


# What newer versions of PyTorch call it; the older name is deprecated there.
_NAMES = inspect.signature(DistributedDataParallel).parameters
_BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers": False
}
