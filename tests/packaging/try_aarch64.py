"""Compile the kernels for 64-bit Arm with Debian's cross compiler, and try them in an emulator.

    apt-get install g++-aarch64-linux-gnu qemu-user
    python tests/packaging/try_aarch64.py

Two things are made below build/aarch64: the Python module, with all its sources (the headers of
nanobind and of this Python serve both machines: both have 64 bits, the lowest byte first), and a
program without Python (kernels.cpp) that compares the products of lanes and bitmaps with plain
loops. The program is run; the module is looked at, for there is no PyTorch to emulate it with.
Wheels for Arm are built and tested on Arm, by .github/workflows/ci.yml.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import nanobind

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "aarch64"
SUFFIX = f".cpython-{sys.version_info[0]}{sys.version_info[1]}-aarch64-linux-gnu.so"
NEEDED = ("cmake", "aarch64-linux-gnu-g++", "qemu-aarch64")
ARM64 = 183  # e_machine of an ELF file


def main() -> int:
    """Build and run; return what the program returns."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        print(f"needs {', '.join(missing)}: apt-get install cmake g++-aarch64-linux-gnu qemu-user")
        return 2
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_TOOLCHAIN_FILE": ROOT / "tools" / "aarch64-linux-gnu.cmake",
        "NB_SUFFIX": SUFFIX,
        "Python_EXECUTABLE": sys.executable,
        "Python_INCLUDE_DIR": sysconfig.get_path("include"),
        "SPARSEBENCH_TEST_KERNELS": "ON",
        "nanobind_DIR": nanobind.cmake_dir(),
    }
    start = time.monotonic()
    defined = [f"-D{name}={value}" for name, value in settings.items()]
    subprocess.run(["cmake", "-S", ROOT, "-B", BUILD, *defined], check=True)
    subprocess.run(["cmake", "--build", BUILD, "--parallel", "2"], check=True)
    print(f"compiled in {time.monotonic() - start:.0f} s")
    module = BUILD / f"_native{SUFFIX}"
    machine = int.from_bytes(module.read_bytes()[18:20], "little")
    print(f"{module.relative_to(ROOT)}: {module.stat().st_size / 1e6:.1f} MB, machine {machine}")
    assert machine == ARM64
    emulator = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
    return subprocess.run([*emulator, BUILD / "kernels_test"]).returncode


if __name__ == "__main__":
    sys.exit(main())
