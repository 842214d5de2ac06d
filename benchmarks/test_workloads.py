"""The workloads that matter, for pytest-benchmark: its tables, its JSON, its own comparison.

    pytest benchmarks --benchmark-only
    pytest benchmarks --benchmark-only --benchmark-autosave
    pytest-benchmark compare

Ours stands beside its rivals in one group. Whether a change made something slower is another
question, which `sparsebench check` answers.
"""

import pytest
import torch

from sparsebench.regression.yardstick import OURS, WORKLOADS
from sparselayers.backends import BACKENDS

EVERY = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name, workload in WORKLOADS.items()
    for kind in (OURS, *workload.rivals)
]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_workload(name, kind, benchmark):
    workload, threads = WORKLOADS[name], torch.get_num_threads()
    benchmark.group = name
    benchmark.extra_info |= {
        "torch": torch.__version__,
        "threads": workload.threads or threads,
        "kernels": "missing" if BACKENDS["native"].unavailable() else "native",
    }
    torch.set_num_threads(workload.threads or threads)
    try:
        benchmark(workload.make(kind))
    finally:
        torch.set_num_threads(threads)
