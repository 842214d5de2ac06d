"""What a cluster costs beside a local run: time per case, and memory over many cases.

    python benchmarks/cluster.py overhead results/reference/cluster/overhead.json
    python benchmarks/cluster.py memory results/reference/cluster/memory.json

Trivial cases (8 × 8, the dense layer alone, one round). `overhead` runs some here, then as many
through one Dask worker on this machine, in turns, on a machine that does nothing else: what the
cluster takes more, over the number of cases. `memory` runs many more through two workers that take
themselves for two hosts, and looks at the memory of every process meanwhile.
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
from typing import TYPE_CHECKING, Any

import psutil

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.cluster.target import Target
from sparsebench.measuring import isolation, machine, runner
from sparsebench.measuring.description import described
from sparsebench.records import Store

if TYPE_CHECKING:
    from tests.sparsebench.cluster.dask_processes import Processes

sys.path.insert(0, str(Path(__file__).parents[1]))  # the processes that tests start serve here too

SETTINGS = Settings(rounds=1, sample_s=1e-4, timeout_s=60)
CASE = Case(
    implementation="dense", in_features=8, out_features=8, sparsity=0.5, batch=1,
    phase="inference", threads=1,
)  # fmt: skip
LOOKS = 20  # at the memory, over all cases


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("what", choices=["overhead", "memory"])
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--cases", type=int, help="by default 40, and 2000 for the memory")
    arguments.add_argument("--repeats", type=int, default=3, help="of the overhead")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "overhead":
            found = overhead(Path(folder), given.cases or 40, given.repeats)
        else:
            found = memory(Path(folder), given.cases or 2000)
    print(json.dumps(found, indent=1))
    found |= {
        "taken": datetime.now(UTC).isoformat("T", "seconds"),
        "machine": machine.fingerprint(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


def overhead(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Seconds per case, here and through one worker, in turns."""
    here, there = [], []
    processes = started(folder, ["a"])
    try:
        for turn in range(-1, repeats):  # the first starts what is started once
            asked = cases(count, 10_000 * (turn + 1))
            start = time.perf_counter()
            with Store(folder / f"here{turn}") as store:
                ran = list(runner.run(asked, store, SETTINGS, machine=described))
            between = time.perf_counter()
            with dispatching(processes, folder / f"there{turn}") as (dispatcher, _, _):
                begin = time.perf_counter()
                ran += dispatcher.run(asked)
                end = time.perf_counter()
            assert all(record.status == "ok" for record in ran), ran
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


def memory(folder: Path, count: int) -> dict[str, Any]:
    """The resident memory of every process while `count` cases run through two workers."""
    processes = started(folder, ["a", "b"])
    sizes: dict[str, list[int]] = {}
    after: list[int] = []
    try:
        with dispatching(processes, folder / "records") as (dispatcher, watcher, _):
            start = time.perf_counter()
            for number, record in enumerate(dispatcher.run(cases(count, 0)), start=1):
                assert record.status == "ok", record
                if number % max(1, count // LOOKS) == 0:
                    after.append(number)
                    for name, size in resident(processes).items():
                        sizes.setdefault(name, []).append(size)
            seconds = time.perf_counter() - start
    finally:
        processes.end()
    return {
        "cases": count,
        "seconds": seconds,
        "by_worker": dict(watcher.counts),
        "after": after,
        "resident_bytes": sizes,
    }


def resident(processes: Processes) -> dict[str, int]:
    """The resident set of the client, the scheduler, the workers and their agents."""
    found = {"client": psutil.Process().memory_info().rss}
    for name, process in zip(("scheduler", "worker a", "worker b"), processes.started, strict=True):
        known = psutil.Process(process.pid)
        found[name] = known.memory_info().rss
        for child in known.children():
            found[name.replace("worker", "agent")] = child.memory_info().rss
    return found


# What follows imports Dask and pytest where it is called: every process that measures runs the
# imports of this script anew, which would slow down the local run beside which the cluster stands.


def started(folder: Path, names: list[str]) -> Processes:
    from tests.sparsebench.cluster.dask_processes import Processes

    processes = Processes(folder)
    for name in names:
        processes.worker(name)
    return processes


def dispatching(processes: Processes, folder: Path) -> Any:
    from tests.sparsebench.cluster.test_cluster import dispatching

    return dispatching(Target(address=processes.address), folder, SETTINGS)


def cases(count: int, first: int) -> list[Case]:
    return [Case(**(CASE.__dict__ | {"seed": first + n})) for n in range(count)]


if __name__ == "__main__":
    main()
