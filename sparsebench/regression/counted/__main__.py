"""Run workloads of some kernels where callgrind counts; without arguments, print their names."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from sparsebench.regression.counted.requests import Callgrind
from sparsebench.regression.counted.way import Workload
from sparsebench.regression.counted.workloads import WORKLOADS, load, workload


def main(path: str, names: Sequence[str]) -> None:
    """Print a line of each workload: its name, then its size, or "failed" and why."""
    callgrind, kernels = Callgrind(), load(path)
    ready: dict[str, Workload] = {}
    for name in names:
        print(name, file=sys.stderr, flush=True)  # if it crashes, this is the last line
        try:
            made = workload(name, kernels)
            made.run()  # kernels keep memory for their next call
        except Exception as error:  # whatever it is, the other workloads go on
            why = f"{type(error).__name__}: {error}".split("\n")[0]
            print(name, "failed", why[:300], sep="\t")
        else:
            ready[name] = made
    gc.disable()
    callgrind.start()
    for name, made in ready.items():
        callgrind.count(name, made.run)
        print(name, made.size, sep="\t")
    sys.stdout.flush()
    os._exit(0)  # to take the interpreter down would take longer here than to count


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(*WORKLOADS, sep="\n")
    else:
        main(sys.argv[1], sys.argv[2:])
