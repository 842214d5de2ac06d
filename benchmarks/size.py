"""What do many records cost? CPU seconds of the frame, the report and the page, and what is slow.

    python benchmarks/size.py 100000 --out results/reference/size.json
    python benchmarks/size.py 5000 --only report --profile

The records are made up: a sweep of 80 widths, 8 batches, 12 sparsities and so on, of three rounds.
`report` is all that the command does, its answer for the terminal included; `reference` the page of
everything in results/reference. `json` is what Python's own reader takes for the lines of the file:
on a machine that does other work, too, all take longer. What is in the file `--out` stays, but for
what is measured anew.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import itertools
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import sparsebench.regression.chapters
import sparsebench.training.chapters  # noqa: F401  # both join the page when they are imported
from sparsebench import load_frame, records
from sparsebench.cases.case import Case
from sparsebench.commands import report
from sparsebench.measuring.machine import fingerprint
from sparsebench.records import FILE_NAME, Memory, Record, Round
from sparsebench.views import page

NAMES = ("dense", "ours", "torch_csr", "torch_coo", "masked")
PHASES = ("inference", "forward_backward", "train_step")
KINDS = ("json", "frame", "report", "page", "reference")
SPARSITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
REFERENCE = Path(__file__).parents[1] / "results" / "reference"
MACHINE = {"id": "0a1b", "cpu": {"model": "Anvil 9000"}, "torch": {"version": "2.14"}}


def written(count: int, folder: Path) -> None:
    """Write `count` records into a folder."""
    rng = np.random.default_rng(0)
    grid = itertools.product(
        (2 ** (n % 8) * 16 + 16 * n for n in range(80)), (1, 2, 4, 8, 16, 64, 128, 512), PHASES,
        SPARSITIES, NAMES,
    )  # fmt: skip
    with (folder / FILE_NAME).open("w", encoding="utf-8") as file:
        for width, batch, phase, sparsity, name in itertools.islice(grid, count):
            case = Case(
                implementation=name, in_features=width, out_features=width, sparsity=sparsity,
                batch=batch, phase=phase, threads=2,
            )  # fmt: skip
            seconds = 1e-9 * width**2 * (1 if name in ("dense", "masked") else 2 * (1 - sparsity))
            samples = [float(f"{s:.5g}") for s in seconds * np.exp(rng.normal(0, 0.05, 18))]
            made = Record(
                case=case, status="ok", samples=samples, calls_per_sample=3, machine=MACHINE,
                rounds=[Round(samples=6)] * 3, started="2026-01-01T00:00:00+00:00",
                memory=Memory(held=4 * width, inference_peak=width, training_peak=2 * width),
                run={"rounds": 3},
            )  # fmt: skip
            file.write(made.model_dump_json() + "\n")


def _report(folder: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        report.show(records.load(folder), folder)


def main() -> None:
    """Write records, do what is asked with them, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument(
        "--only", choices=KINDS, action="append", help="all but `page`, if not given"
    )
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(given.count, folder)
        work: dict[str, Callable[[], object]] = {
            "json": lambda: [*map(json.loads, (folder / FILE_NAME).open("rb"))],
            "frame": lambda: load_frame(folder),
            "report": lambda: _report(folder),
            "page": lambda: page.write([folder], folder / "report.html"),
            "reference": lambda: page.write([REFERENCE], folder / "reference.html"),
        }
        found: dict[str, float | str] = {
            "records": given.count, "machine": fingerprint()["cpu"]["model"]
        }  # fmt: skip
        if given.out is not None and given.out.exists():
            found = json.loads(given.out.read_text(encoding="utf-8")) | found
        for what in given.only or ("json", "frame", "report", "reference"):
            profile = cProfile.Profile()
            begin = time.process_time()
            if given.profile:
                profile.enable()
            work[what]()
            profile.disable()
            found[what] = round(time.process_time() - begin, 2)
            print(what, found[what], "CPU seconds", flush=True)
            if given.profile:
                pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
            if given.out is not None:  # as far as it has come
                given.out.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
