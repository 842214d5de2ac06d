"""Commands as steps: a sentence each, with the time it took, and their output in a file.

Standard library alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What pip prints, in one place or another, when the package index cannot be reached.
NO_NETWORK = (
    "Failed to establish a new connection", "Max retries exceeded", "Network is unreachable",
    "Temporary failure in name resolution", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError",
)  # fmt: skip


class StepError(Exception):
    """A step failed: says what to do about it."""


class Steps:
    """Commands run one after the other, each under a sentence; their output goes to `log`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")

    def run(self, sentence: str, command: Sequence[str | Path], path: str | None = None) -> None:
        """Run a command below a sentence that ends in the time it took.

        Raises StepError where it fails.
        """
        start = time.monotonic()
        environment = os.environ | ({"PATH": path} if path else {})
        print(f"{sentence} ...", end="", flush=True)
        with self.log.open("a") as log:
            print("$", *command, file=log, flush=True)
            before = self.log.stat().st_size
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
            try:
                while _running(child):
                    if sys.stdout.isatty():
                        print(f"\r{sentence} ... {_passed(start)}", end="", flush=True)
            finally:
                if child.poll() is None:
                    child.terminate()
        if child.returncode:
            print(" failed.", flush=True)
            raise StepError(self._why(self.log.read_bytes()[before:].decode(errors="replace")))
        print(f"{chr(13) + sentence + ' ...' if sys.stdout.isatty() else ''} {_passed(start)}.")

    def tail(self, lines: int = 15, text: str | None = None) -> str:
        """Return the last lines of the log, or of `text`, indented below its name."""
        told = (self.log.read_text(errors="replace") if text is None else text).splitlines()
        last = "\n".join(f"  | {line}" for line in told[-lines:])
        return f"The last lines of {os.path.relpath(self.log)}:\n{last}"

    def _why(self, said: str) -> str:
        if any(sign in said for sign in NO_NETWORK):
            return (
                "pip cannot reach the package index. Connect to the network, or set PIP_INDEX_URL "
                "to a mirror, and call make again: what is done stays done. All it said is in "
                f"{os.path.relpath(self.log)}."
            )
        return self.tail(text=said)


def _running(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _passed(start: float) -> str:
    seconds = round(time.monotonic() - start)
    return f"{seconds} s" if seconds < 100 else f"{seconds // 60} min {seconds % 60} s"
