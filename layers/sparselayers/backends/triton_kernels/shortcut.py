"""From a compiled kernel to Triton's part in C, without the Python between them.

Triton asks for the device, the stream, hooks and scratch memory at every launch, and packs what it
says of it for hooks, in some twenty calls. What it hands to its part in C is the same each time but
for addresses and the stream. It is seen once: Triton makes a launch ready that does not take place.
Whatever looks otherwise than expected is no shortcut, and stays Triton's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton

_KNOBS: Any = getattr(getattr(triton, "knobs", None), "runtime", None)
_HOOKS = tuple(getattr(_KNOBS, name, None) for name in ("launch_enter_hook", "launch_exit_hook"))
_KNOWN = all(isinstance(getattr(hook, "calls", None), list) for hook in _HOOKS)
_lock = threading.Lock()

# What is called before every launch and after it, for somebody who watches, a profiler perhaps.
BEFORE, AFTER = [hook.calls for hook in _HOOKS if hook is not None] if _KNOWN else ([], [])


class Shortcut(NamedTuple):
    """Triton's part in C, `call`: it takes what is `before` the stream, that, what is `after` it,
    and the kernel's arguments, `packed` in one tuple or one by one.
    """

    call: Callable[..., object]
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    packed: bool
    device: int
    stream_of: Callable[[int], int]
    made: Any  # which is unloaded when nobody holds it


def of(made: Any, blocks: int, tensors: int, rest: tuple[Any, ...]) -> Shortcut | None:
    """Return what launches `made` over `blocks` programs, given addresses of tensors and `rest`.

    It is for the device that is current now, where `made` was launched before. None where there is
    no such shortcut.
    """
    if not _KNOWN or BEFORE or AFTER:
        return None
    given, stream = (*(object() for _ in range(tensors)), *rest), object()
    call, handed = _handed(made, (blocks, 1, 1), given, stream)
    if call is None or sum(each is stream for each in handed) != 1:
        return None
    if any(isinstance(each, torch.Tensor) for each in handed):  # scratch memory of one launch alone
        return None
    packed = isinstance(handed[-1], tuple) and _are(handed[-1], given)
    arguments = 1 if packed else len(given)
    if not packed and not _are(handed[len(handed) - arguments :], given):
        return None
    at = next(place for place, each in enumerate(handed) if each is stream)
    driver = triton.runtime.driver.active
    return Shortcut(
        call,
        tuple(map(_unhooked, handed[:at])),
        tuple(map(_unhooked, handed[at + 1 : len(handed) - arguments])),
        packed,
        driver.get_current_device(),
        driver.get_current_stream,
        made,
    )


def _handed(
    made: Any, grid: tuple[int, int, int], arguments: tuple[Any, ...], stream: object
) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
    """Return Triton's part in C, and what it is handed for a launch, which does not take place.

    None, and nothing, where that cannot be seen.
    """
    launcher, thread = made.run, threading.get_ident()
    seen: list[tuple[Any, ...]] = []
    with _lock:
        launch = getattr(launcher, "launch", None)
        if not callable(launch):
            return None, ()

        def see(*handed: Any) -> object:
            if threading.get_ident() != thread:  # whose launches are none of ours
                return launch(*handed)
            seen.append(handed)
            return None

        launcher.launch = see
        try:
            made[grid](*arguments, stream=stream)
        except Exception:  # whatever it is that does not take what stands for addresses
            return None, ()
        finally:
            launcher.launch = launch
    return (launch, seen[0]) if len(seen) == 1 else (None, ())


def _are(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Whether these are the same objects."""
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _unhooked(handed: Any) -> Any:
    """Return what is handed where nobody has hooks: none, and nothing that is said to them."""
    is_hook = any(handed is hook for hook in _HOOKS)
    return None if is_hook or type(handed).__name__ == "LazyDict" else handed
