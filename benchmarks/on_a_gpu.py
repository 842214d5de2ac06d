"""Everything that is measured on a GPU, one step after the other, in twelve minutes of it.

    python benchmarks/on_a_gpu.py OUT [--minutes 12] [--only STEP …]

For a GPU that is lent for a while: the steps come in the order of what one would miss most, each
has a part of the time, and what is measured is in records under OUT at every moment. A step that
fails, or that its time does not suffice for, is said and the next one begins. Run again, with the
same OUT, sweeps go on where they stopped. `OUT/steps.jsonl` says of each step how it ended.

Nothing here needs a network. What a step takes is bounded, not estimated: on a slow GPU records
are fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 10  # after Ctrl-C, for what is under way to be put away


@dataclass(frozen=True)
class Step:
    """A command, and the minutes it may take. `{out}` in an argument is the folder of records."""

    name: str
    minutes: float
    arguments: tuple[str, ...]

    def command(self, out: Path) -> list[str]:
        """Return what is run, by this interpreter."""
        return [sys.executable, "-m", *(part.format(out=out) for part in self.arguments)]


def _sweep(name: str, minutes: float, *options: str) -> Step:
    return Step(name, minutes, ("sparsebench", "run", name, "--out", f"{{out}}/{name}", *options))


def _train(name: str, minutes: float, *options: str) -> Step:
    where = ("--device", "cuda", "--out", f"{{out}}/{name}")
    return Step(name, minutes, ("sparsebench", "train", name, *where, *options))


STEPS = (
    Step("right", 1.5, ("pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu")),
    _sweep("gpu-more", 4.5),
    _sweep("gpu-ways", 1.5),
    _sweep("k-winners", 0.75, "--device", "cuda"),
    _sweep("dynamic", 0.75, "--device", "cuda"),
    _train("cifar-report", 1.25),
    _train("cifar-vgg", 0.5, "--time-only", "--steps", "10"),
    _train("cifar-resnet", 0.5, "--time-only", "--steps", "10"),
    _sweep("gpu", 0.75, "--filter", "width=20000"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that were asked for; return 1 where one of them did not end well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the records")
    parser.add_argument("--minutes", type=float, default=12.0, help="for all of it (12)")
    parser.add_argument(
        "--only", nargs="+", choices=[step.name for step in STEPS], help="these steps alone"
    )
    asked = parser.parse_args(arguments)
    if asked.minutes <= 0:
        parser.error(f"--minutes {asked.minutes:g}: has to be more than 0")
    steps = [step for step in STEPS if asked.only is None or step.name in asked.only]
    asked.out.mkdir(parents=True, exist_ok=True)
    well = True
    with (asked.out / "steps.jsonl").open("a") as file:
        for ended in run(steps, asked.out, asked.minutes):
            print(f"{ended['step']}: {ended['how']} after {ended['seconds']} s", flush=True)
            file.write(json.dumps(ended) + "\n")
            file.flush()
            well &= ended["how"] == "done"
    print(f"the records are under {asked.out}")
    return 0 if well else 1


def run(steps: Sequence[Step], out: Path, minutes: float) -> Iterator[dict[str, object]]:
    """Run the steps, and yield how each of them ended; what one leaves of its time, others have."""
    start = time.monotonic()
    for number, step in enumerate(steps):
        left = 60 * minutes - (time.monotonic() - start)
        later = 60 * sum(after.minutes for after in steps[number + 1 :])
        seconds = max(left - later, min(left, 60 * step.minutes))
        begun = time.monotonic()
        how = "no time was left" if left <= 0 else _ended(step.command(out), seconds)
        yield {"step": step.name, "how": how, "seconds": round(time.monotonic() - begun, 1)}


def _ended(command: Sequence[str], seconds: float) -> str:
    """Run a command for so many seconds at most, and say how it ended."""
    paths = (str(ROOT), str(ROOT / "layers"), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # A session of its own, so that whatever it started is ended with it.
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            return "its time was over"
    return "done" if code == 0 else f"failed, exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
