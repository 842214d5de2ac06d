"""What a cluster costs beside a local run: time per case, and memory over many cases.

    python benchmarks/cluster.py results/reference/cluster/overhead.json [--cases 2000]

Trivial cases (8 × 8, the dense layer alone, one round) run here, then through one Dask worker on
this machine: the difference over the number of cases is the overhead. Then many more run through
two workers that take themselves for two hosts; the memory of every process is looked at meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # the processes that tests start serve here too

from sparsebench import isolation, machine, runner
from sparsebench.case import Case
from sparsebench.cluster.target import Target
from sparsebench.description import described
from sparsebench.records import Store
from sparsebench.runner import Settings
from tests.sparsebench.dask_processes import Processes
from tests.sparsebench.test_cluster import dispatching

SETTINGS = Settings(rounds=1, sample_s=1e-4, timeout_s=60)
CASE = Case(
    implementation="dense", in_features=8, out_features=8, sparsity=0.5, batch=1,
    phase="inference", threads=1,
)  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--few", type=int, default=40, help="cases for the overhead")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--cases", type=int, default=2000, help="cases for the memory")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = overhead(Path(folder), given.few, given.repeats)
        if given.cases:
            found |= many(Path(folder), given.cases)
    found |= {
        "taken": datetime.now(UTC).isoformat("T", "seconds"),
        "machine": machine.fingerprint(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "machine"}, indent=1))


def overhead(folder: Path, count: int, repeats: int) -> dict[str, object]:
    """Seconds per case, here and through one worker, in turns."""
    here, there = [], []
    processes = started(folder / "few", ["a"])
    try:
        for turn in range(-1, repeats):  # the first starts what is started once
            asked = cases(count, 10_000 * (turn + 1))
            start = time.perf_counter()
            with Store(folder / f"here{turn}") as store:
                assert all(
                    r.status == "ok" for r in runner.run(asked, store, SETTINGS, machine=described)
                )
            between = time.perf_counter()
            with dispatching(target(processes), folder / f"there{turn}", SETTINGS) as (to, _, _):
                begin = time.perf_counter()
                assert all(r.status == "ok" for r in to.run(asked))
                end = time.perf_counter()
            if turn >= 0:
                here.append((between - start) / count)
                there.append((end - begin) / count)
    finally:
        processes.end()
        isolation.end()
    return {
        "cases": count,
        "local_s_per_case": here,
        "cluster_s_per_case": there,
        "overhead_s_per_case": statistics.median(there) - statistics.median(here),
    }


def many(folder: Path, count: int) -> dict[str, object]:
    """The resident memory of every process while `count` cases run through two workers."""
    processes = started(folder / "many", ["a", "b"])
    sizes: dict[str, list[int]] = {}
    at: list[int] = []
    try:
        with dispatching(target(processes), folder / "records", SETTINGS) as (to, watcher, _):
            start = time.perf_counter()
            for number, _ in enumerate(to.run(cases(count, 0)), start=1):
                if number % (count // 10) == 0:
                    at.append(number)
                    for name, size in memory(processes).items():
                        sizes.setdefault(name, []).append(size)
            seconds = time.perf_counter() - start
    finally:
        processes.end()
    return {
        "many_cases": count,
        "many_seconds": seconds,
        "many_by_worker": dict(watcher.counts),
        "many_after": at,
        "many_rss_bytes": sizes,
    }


def memory(processes: Processes) -> dict[str, int]:
    """The resident set of the client, the scheduler, the workers and their agents."""
    found = {"client": psutil.Process().memory_info().rss}
    for name, process in zip(("scheduler", "worker a", "worker b"), processes.started, strict=True):
        known = psutil.Process(process.pid)
        found[name] = known.memory_info().rss
        for child in known.children():
            found[name.replace("worker", "agent")] = child.memory_info().rss
    return found


def started(folder: Path, names: list[str]) -> Processes:
    folder.mkdir()
    processes = Processes(folder)
    for name in names:
        processes.worker(name)
    return processes


def target(processes: Processes) -> Target:
    return Target(address=processes.address)


def cases(count: int, first: int) -> list[Case]:
    return [Case(**(CASE.__dict__ | {"seed": first + n})) for n in range(count)]


if __name__ == "__main__":
    main()
