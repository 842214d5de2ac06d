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
