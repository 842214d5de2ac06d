"""A stand-in for a GPU whose launches do nothing: what is left is the time that the host takes.

Triton compiles the kernels for a real GPU (compute capability 9.0), looks them up and prepares
every launch as it does there; only the last call, into the driver, returns at once. Tensors are on
the CPU. What is missing: the driver's own share of a launch and Triton's reading of the arguments
in C (together 2 to 4 µs a launch on real machines), and the allocator of CUDA in place of the
CPU's. Results are undefined.

It needs torch and Triton, and of the project nothing but the library: see yardstick.py.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch

_CAPABILITY = 90
_SHARED = 232_448  # bytes a block can have, as on an H100


class Driver:
    """What Triton asks of a driver."""

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []  # what each was given
        self.keeps = False
        nvidia: Any = import_module("triton.backends.nvidia.driver")
        self.launcher_cls = nvidia.CudaLauncher
        nvidia.PyKernelArg = SimpleNamespace  # of the part in C, which needs a driver to be linked
        self.utils = SimpleNamespace(
            launch=self._launch,
            load_binary=lambda *_: (1, 1, 32, 0, 1024),
            unload_module=lambda _: None,
            get_device_properties=lambda _: {"max_shared_mem": _SHARED},
            build_signature_metadata=lambda _: b"",
        )

    def _launch(self, *given: object) -> None:
        if self.keeps:
            self.launched.append(given)

    def get_current_device(self) -> int:
        """Return the only one."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return the default stream."""
        return 0 * device

    def get_current_target(self) -> Any:
        """Return what to compile for."""
        return import_module("triton.backends.compiler").GPUTarget("cuda", _CAPABILITY, 32)

    def allocate_default_profile_scratch(self, *_: object) -> None:
        """No kernel of ours asks for any."""


def install() -> Driver:
    """Let the backend "triton" serve tensors of the CPU in this process, by launches that are none.

    Raises ImportError where Triton is not installed. Cannot be undone: for processes of their own.
    """
    os.environ["SPARSEBENCH_TUNING"] = "off"
    runtime = import_module("triton.runtime").driver
    if type(runtime._active).__name__ == Driver.__name__:  # of another import of this file
        return runtime._active  # type: ignore[no-any-return]
    driver = Driver()
    runtime.set_active(driver)
    backends = import_module("sparselayers.backends")
    backends.BACKENDS["triton"].refusal = lambda device: None
    backends.BACKENDS["triton"].unavailable = lambda: None
    cuda: Any = torch.cuda
    cuda.device = lambda device: nullcontext()
    cuda.current_device = lambda: None  # as the index of the CPU
    return driver
