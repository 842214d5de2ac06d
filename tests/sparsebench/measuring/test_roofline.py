"""The probe of the roofline, on arrays that are quickly gone through."""

from sparsebench.measuring import roofline


def test_the_probe_measures_both_limits(monkeypatch):
    monkeypatch.setattr(roofline, "_LARGE", 3 << 20)
    monkeypatch.setattr(roofline, "_SECONDS", 0.01)
    found = roofline.probe("cpu", "float32", 1)
    assert found["matmul_gflops"] > 0.1
    assert found["stream_gb_s"] > 0.01
    assert all(size > 0 and rate > 0 for size, rate in found["cache_gb_s"])
    assert (found["device"], found["dtype"], found["threads"]) == ("cpu", "float32", 1)


def test_a_type_that_is_emulated_is_probed_with_a_small_product(monkeypatch):
    """A large one takes a minute in bfloat16 on a CPU that has no such instructions."""
    asked = []

    def square(device, dtype, size, seconds):
        asked.append(size)
        return rate

    monkeypatch.setattr(roofline, "_square", square)
    rate = 1.5
    assert roofline._matmul("cpu", "bfloat16", 0.3) == 1.5
    assert asked == [256]
    rate = 100.0
    assert roofline._matmul("cpu", "bfloat16", 0.3) == 100.0
    assert asked == [256, 256, 2048]
