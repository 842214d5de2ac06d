"""The probe of the roofline, on arrays that are quickly gone through."""

import torch

from sparsebench.measuring import roofline
from sparsebench.measuring.roofline import probe


def test_the_probe_measures_both_limits(monkeypatch):
    monkeypatch.setattr(roofline, "_LARGE", 3 << 20)
    monkeypatch.setattr(roofline, "_SECONDS", 0.01)
    found = probe("cpu", "float32", 1)
    assert found["matmul_gflops"] > 0.1
    assert found["stream_gb_s"] > 0.01
    assert all(size > 0 and rate > 0 for size, rate in found["cache_gb_s"])
    assert (found["device"], found["dtype"], found["threads"]) == ("cpu", "float32", 1)


def test_a_type_that_is_emulated_is_probed_with_a_small_product(monkeypatch):
    """A large one takes a minute in bfloat16 on a CPU that has no such instructions."""
    asked = []

    def square(multiply, device, dtype, size, seconds):
        asked.append(size)
        return rate

    monkeypatch.setattr(roofline, "_square", square)
    rate = 1.5
    assert roofline._arithmetic("cpu", "bfloat16")["matmul_gflops"] == 1.5
    assert asked == [256]
    rate = 100.0
    assert roofline._arithmetic("cpu", "bfloat16")["matmul_gflops"] == 100.0
    assert asked == [256, 256, 2048, 384]


def test_the_best_of_all_libraries_counts(monkeypatch):
    """MKL is not the fastest everywhere."""
    rates = {"torch": 10.0, "onednn": 30.0}

    def square(multiply, device, dtype, size, seconds):
        return rates[multiply] * (2 if size == 384 else 1)

    monkeypatch.setattr(roofline, "_square", square)
    monkeypatch.setattr(roofline, "_ways", lambda device, dtype: {name: name for name in rates})
    found = roofline._arithmetic("cpu", "float32")
    assert found["matmul_gflops"] == 60.0
    assert found["gflops"] == {
        "torch 256": 10.0, "torch 2048": 10.0, "onednn 2048": 30.0,
        "torch 384": 20.0, "onednn 384": 60.0,
    }  # fmt: skip


def test_every_library_multiplies():
    a, b = torch.randn(48, 32), torch.randn(32, 48)
    for name, multiply in roofline._ways("cpu", "float32").items():
        out = torch.empty(48, 48)
        got = multiply(a, b, out)
        got = out if name != "onednn" else got
        torch.testing.assert_close(got, a @ b, msg=name)
