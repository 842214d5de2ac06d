"""What the library asks of a GPU beside computing on it, and which GPUs there are.

What decides about a GPU goes through `of(device)`, so that it can be tested with a stand-in on a
machine that has none.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_WARM = 3  # calls before a capture: kernels compile, tiles are tried, libraries allocate


class Accelerator(ABC):
    """One GPU: what it is, and what it is doing."""

    @abstractmethod
    def name(self) -> str:
        """Return the model, as its driver calls it."""

    @abstractmethod
    def capability(self) -> tuple[int, int]:
        """Return the compute capability, (major, minor)."""

    @abstractmethod
    def capturing(self) -> bool:
        """Return whether the current stream is being captured into a CUDA graph."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work on the device."""

    @abstractmethod
    def captured(self, call: Callable[[], T], leaves: Sequence[Tensor]) -> Callable[[], T]:
        """Return what repeats `call` as a CUDA graph, and returns what was captured.

        It reads and writes tensors where they lie, and what it returns is overwritten by the next
        repetition. After each, the gradients that `call` leaves are those of `leaves`, in the same
        memory every time. `call` runs before it is captured; the numbers of `leaves` are then what
        they were.
        """

    def is_current(self) -> bool:
        """Return whether work that is launched now is launched on this one."""
        return True

    def is_alone(self) -> bool:
        """Return whether it is the only one, and so always the current one."""
        return False


class Cuda(Accelerator):
    """A GPU as PyTorch sees it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cache  # noqa: B019 — there are as many as GPUs
    def name(self) -> str:
        """Return what the driver says."""
        return torch.cuda.get_device_name(self._device)

    def capability(self) -> tuple[int, int]:
        """Return what the driver says."""
        return torch.cuda.get_device_capability(self._device)

    def capturing(self) -> bool:
        """Ask the current stream."""
        return torch.cuda.is_current_stream_capturing()

    def synchronize(self) -> None:
        """Wait for all streams."""
        torch.cuda.synchronize(self._device)

    def captured(self, call: Callable[[], T], leaves: Sequence[Tensor]) -> Callable[[], T]:
        """Run it on a stream of its own before, as PyTorch's notes on CUDA graphs say."""
        kept = [leaf.detach().clone() for leaf in leaves]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM):
                    call()
            torch.cuda.current_stream().wait_stream(side)
            with torch.no_grad():
                for leaf, numbers in zip(leaves, kept, strict=True):
                    leaf.copy_(numbers)
            with torch.cuda.graph(graph):
                result = call()
        gradients = [leaf.grad for leaf in leaves]

        def repeat() -> T:
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            graph.replay()
            return result

        return repeat

    def is_current(self) -> bool:
        """Ask the thread."""
        return self._device.index == torch.cuda.current_device()

    def is_alone(self) -> bool:
        """Count them: that stays for as long as a process uses one."""
        return torch.cuda.device_count() < 2


@cache
def of(device: torch.device) -> Accelerator:
    """Return the GPU `device`."""
    return Cuda(device)


def synchronize(device: torch.device | str) -> None:
    """Wait for all work on `device`; a CPU's is done when it returns."""
    device = torch.device(device)
    if device.type != "cpu":
        of(device).synchronize()


def devices() -> list[str]:
    """Return the GPUs that can be used, as PyTorch names them: cuda:0, cuda:1, …"""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if usable() else []


def usable() -> bool:
    """Return whether there is a GPU that can be used; `problem` says why there is none."""
    with warnings.catch_warnings():  # PyTorch's, of a driver that is too old
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


def problem(device: torch.device | str = "cuda") -> str | None:
    """Say why `device` cannot be used on this machine, and what would help; None if it can."""
    device = torch.device(device)
    if device.type == "cpu":
        return None
    if usable():
        found = torch.cuda.device_count()
        if device.index is not None and device.index >= found:
            return f"there is no {device}: choose from {', '.join(devices())}"
        return None
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return "this build of PyTorch has no CUDA: install one that has, see pytorch.org"
    reason = ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        # PyTorch's own words: no driver, or one that is too old for this build.
        reason = " ".join(str(error).split()).removesuffix(".")
    return "this machine has no CUDA device that PyTorch can use" + (
        f": {reason}" if reason else ""
    )
