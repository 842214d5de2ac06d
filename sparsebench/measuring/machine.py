"""Fingerprint of the machine and of the software; which devices there are, and how busy it is.

Nothing here tells whose machine it is: no host name, no user name, no path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from sparsebench.errors import InputError
from sparsebench.measuring import allocator, gpu, software
from sparselayers import accelerator
from sparselayers.backends import BACKENDS, native


@cache
def fingerprint() -> dict[str, Any]:
    """Return what a measurement depends on beside its case; `id` names the hardware.

    Two machines of the same parts share an id: their records replace each other's. `software` is
    what of the software both sides of a ratio share.
    """
    hardware = {
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": _gpus(),
    }
    digest = hashlib.sha256(repr(hardware).encode()).hexdigest()
    found = {
        "id": digest[:12],
        **hardware,
        "os": f"{platform.system()} {platform.release()}",
        "huge_pages": _huge_pages(),
        "malloc": allocator.description(),
        "python": platform.python_version(),
        "torch": _torch(),
        "sparsebench": {"version": metadata.version("sparsebench"), **_commit()},
        "layers": layers_backend(),
    }
    return found | {"software": software.shared(found)}


def devices() -> list[str]:
    """Return what is measured by default: the CPU always, the first GPU where there is one."""
    return ["cpu", "cuda"] if accelerator.usable() else ["cpu"]


def check_device(device: str) -> None:
    """Raise InputError where `device` is neither the CPU nor a GPU that can be used here."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: choose cpu, cuda, or one of several GPUs as cuda:1")
    if reason := accelerator.problem(device):
        raise InputError(f"--device {device}: {reason}")


def busy(seconds: float = 0.3) -> float:
    """Return the fraction of all CPUs that other processes take now."""
    return psutil.cpu_percent(interval=seconds) / 100


def default_threads() -> int:
    """Return as many threads as PyTorch would use: one for every physical core it may."""
    return torch.get_num_threads()


def layers_backend() -> dict[str, str]:
    """Return which backend of `layers` serves float32 on the CPU, its instruction set, and why.

    Raises ValueError where the environment asks for one that cannot run.
    """
    if BACKENDS["native"].unavailable():
        return {"backend": "reference"}
    instruction_set, reason = native.isa()
    return {"backend": "native", "isa": instruction_set, "isa_reason": reason}


def usable_threads() -> int:
    """Return on how many hardware threads this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


def _cpu() -> dict[str, Any]:
    info = _proc_cpuinfo()
    return {
        "model": info.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "threads": psutil.cpu_count() or 1,
        "usable_threads": usable_threads(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "caches": _caches(),
    }


def _proc_cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


def _caches() -> dict[str, str]:
    """Sizes of the first CPU's caches, as Linux gives them: {"L1d": "48K", …}."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        sizes[f"L{level}{ {'Data': 'd', 'Instruction': 'i'}.get(kind, '') }"] = size
    return sizes


def _huge_pages() -> str:
    """Whether Linux backs large allocations with 2 MB pages: "always", "madvise" or "never".

    Large gradients are allocated anew in every training step, and cost a fault for every page.
    """
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return ""
    return text.partition("[")[2].partition("]")[0]


def _gpus() -> list[dict[str, Any]]:
    return [gpu.of(torch.device(name)).description() for name in accelerator.devices()]


def _torch() -> dict[str, Any]:
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "blas": torch.__config__.show().partition("BLAS_INFO=")[2].partition(",")[0],
        "cuda": torch.version.cuda if accelerator.usable() else None,
    }


def _commit() -> dict[str, Any]:
    """The commit that the sources are at, where they are a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {}

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "--short=12", "HEAD"),
            "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}
