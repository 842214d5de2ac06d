"""Run the notebooks of experiments/notebooks, and keep them with what they show as .ipynb files.

    python tools/notebooks.py [NAME...]    # into build/notebooks; by default all of them

Needs jupytext, nbclient and ipykernel: the extra `notebooks`. With NOTEBOOK_QUICK=1 each computes a
part of what it does, in seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ROOT / "experiments" / "notebooks"
MADE = ROOT / "build" / "notebooks"


def run(text: Path) -> Path:
    """Return the notebook made of `text`, run here, with its outputs."""
    notebook = jupytext.read(text)
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(TEXTS)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of its own sockets
    ).execute()
    MADE.mkdir(parents=True, exist_ok=True)
    made = MADE / f"{text.stem}.ipynb"
    jupytext.write(notebook, made)
    return made


def main(*names: str) -> int:
    """Run the notebooks called `names`, or all; return 1 where a cell fails."""
    for text in [TEXTS / f"{name}.py" for name in names] or sorted(TEXTS.glob("*.py")):
        start = time.monotonic()
        try:
            made = run(text)
        except CellExecutionError as error:
            print(f"{text.relative_to(ROOT)} fails:\n{error}")
            return 1
        print(f"{made.relative_to(ROOT)}: {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
