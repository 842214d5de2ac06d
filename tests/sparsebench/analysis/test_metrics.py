"""Every metric of records made from known times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import points
from sparsebench.cases import arithmetic
from sparsebench.records import Memory, Round
from sparsebench.records.record import APART
from tests.sparsebench.factory import MACHINE, case, record

PROBED = MACHINE | {"roofline": {"matmul_gflops": 100, "stream_gb_s": 10}}


def values(*records, of="ours"):
    point = next(p for p in points(records) if p.case.implementation == of)
    found = {name: metric.of(point) for name, metric in METRICS.items()}
    return {name: None if e is None else e.value for name, e in found.items()}


def test_times_and_ratios():
    found = values(
        record(2e-3, noise=0.1),
        record(8e-3, noise=0.1, implementation="dense"),
        record(1e-3, noise=0.1, implementation="peer"),
    )
    assert found["time"] == pytest.approx(2e-3)
    assert found["speedup"] == pytest.approx(4.0)
    assert found["relative_time"] == pytest.approx(2.0)
    assert found["throughput"] == pytest.approx(arithmetic.flops(case()) / 2e-3)


def test_memory_counts_what_is_held_and_the_peak_of_the_phase():
    memory = Memory(held=100, inference_peak=20, training_peak=300)
    dense = Memory(held=1000, inference_peak=200, training_peak=1000)
    for phase, peak, ratio in (("inference", 120, 0.1), ("forward_backward", 400, 0.2)):
        found = values(
            record(1.0, phase=phase, memory=memory),
            record(1.0, phase=phase, memory=dense, implementation="dense"),
        )
        assert found["peak_memory"] == peak
        assert found["memory_ratio"] == pytest.approx(ratio)
        assert found["needed_memory"] == arithmetic.needed_memory(case(phase=phase))


@pytest.mark.parametrize("bound", ["arithmetic", "memory", "cache"])
def test_the_fraction_of_the_roof_is_1_at_the_roof(bound):
    of = {"batch": 4096, "phase": "inference"} if bound == "arithmetic" else {"batch": 1}
    machine = dict(PROBED)
    if bound == "cache":  # the layer of 1024² at 90% fits into 4 MB, not into 100 kB
        caches = [[100e3, 500], [4e6, 50]]
        machine["roofline"] = PROBED["roofline"] | {"cache_gb_s": caches}
    seconds = {
        "arithmetic": arithmetic.flops(case(**of)) / 100e9,
        "memory": arithmetic.traffic(case(**of)) / 10e9,
        "cache": arithmetic.traffic(case(**of)) / 50e9,
    }[bound]
    assert values(record(seconds, machine=machine, **of))["roofline"] == pytest.approx(1.0)
    assert values(record(4 * seconds, machine=machine, **of))["roofline"] == pytest.approx(0.25)


def test_what_was_not_measured_is_none():
    found = values(record(None, status="oom"), record(1.0, implementation="dense"))
    counted = {"needed_memory", "traffic", "intensity"}
    assert {name for name, value in found.items() if value is not None} == counted
    assert values(record(1.0))["speedup"] is None
    assert values(record(1.0))["roofline"] is None
    assert values(record(1.0))["memory_ratio"] is None


def test_a_ratio_is_as_uncertain_as_both_of_its_sides():
    def width(noise, dense_noise):
        ours, _ = points(
            [
                record(1.0, noise=noise, count=99),
                record(5.0, noise=dense_noise, count=99, implementation="dense"),
            ]
        )
        estimate = METRICS["speedup"].of(ours)
        return estimate.high / estimate.low

    assert width(0.0, 0.0) == pytest.approx(1.0)
    assert width(0.3, 0.3) > max(width(0.3, 0.0), width(0.0, 0.3)) > 1.05


# Rounds that are further apart decide by majority: see records/test_rounds.py.
ROUNDS = st.builds(
    lambda typical, others: [typical * share for share in others],
    st.floats(1e-6, 1e3),
    st.lists(st.floats(1.0, 0.99 * APART), min_size=3, max_size=30),
)


@given(ROUNDS, ROUNDS)
def test_an_interval_holds_its_value_and_that_is_the_ratio_of_means_of_rounds(own, dense):
    def of(samples, **changes):
        rounds = [Round(samples=1)] * len(samples)
        return record(1.0, **changes).model_copy(update={"samples": samples, "rounds": rounds})

    point, _ = points([of(own), of(dense, implementation="dense")])
    estimate = METRICS["speedup"].of(point)
    assert estimate.value == pytest.approx(np.exp(np.mean(np.log(dense)) - np.mean(np.log(own))))
    assert estimate.low <= estimate.value <= estimate.high


def test_the_fastest_dense_layer_is_of_the_same_type():
    times = {"dense": 4.0, "dense_onednn": 2.0, "dense_openblas": 3.0, "dense_int8": 0.5, "peer": 1}
    found = values(*(record(s, implementation=n) for n, s in times.items()), record(1.0))
    assert found["speedup"] == pytest.approx(4.0)
    assert found["speedup_over_best_dense"] == pytest.approx(2.0)
    assert found["speedup_over_short_dense"] == pytest.approx(0.5)
    assert (
        values(record(1.0), record(1.0, implementation="peer"))["speedup_over_best_dense"] is None
    )


def test_a_dense_layer_that_was_disturbed_is_not_the_fastest():
    late = record(1.0, implementation="dense_onednn")
    late = late.model_copy(update={"rounds": [Round(samples=1, disturbed="late")] * 9})
    found = values(record(3.0, implementation="dense"), late, record(1.0))
    assert found["speedup_over_best_dense"] == pytest.approx(3.0)


def test_a_dense_layer_raises_a_roof_that_the_probe_set_too_low():
    of = {"batch": 4096, "phase": "inference"}
    fast = arithmetic.dense_flops(case(**of)) / 200e9  # twice what was probed
    sparse = arithmetic.flops(case(**of)) / 100e9
    both = [
        record(s, implementation=name, machine=PROBED, **of)
        for name, s in (("dense", fast), ("ours", sparse))
    ]
    assert values(both[1])["roofline"] == pytest.approx(1.0)
    assert values(*both)["roofline"] == pytest.approx(0.5)


def test_the_error_is_that_of_the_output():
    assert values(record(1.0, errors={"output": 0.01, "input": 1e-7}))["error"] == 0.01
    assert values(record(1.0))["error"] is None
