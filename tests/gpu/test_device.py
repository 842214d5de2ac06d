"""What only a GPU can show: graphs, streams, several devices, memory, tensors in wrong places."""

import copy
import statistics
import subprocess
import sys
import time

import pytest
import torch

import sparselayers as sl
from sparsebench.cases import phases
from sparsebench.measuring import gpu
from sparselayers import accelerator
from sparselayers.backends.triton_kernels.tuning import Tuner
from tests.gpu.conftest import INTERPRETED

pytestmark = pytest.mark.skipif(
    INTERPRETED or not torch.cuda.is_available(), reason="needs a CUDA device"
)


def trained(layer, x):
    """Output and gradients, and nothing that keeps the graph of autograd, and its stream, alive."""
    y = layer(x)
    return y.detach(), *torch.autograd.grad(y.square().sum(), [x, layer.weights])


@pytest.mark.parametrize(("batch", "backend"), [(1, None), (96, None), (96, "triton_bitmaps")])
def test_a_training_step_in_a_cuda_graph(batch, backend):
    layer = sl.SparseLinear(300, 200, sparsity=0.9, device="cuda", backend=backend)
    x = torch.randn(batch, 300, device="cuda", requires_grad=True)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        trained(layer, x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = trained(layer, x)
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    for ours, theirs in zip(captured, trained(layer, x), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_graph_of_a_layer_that_never_ran_is_refused():
    """In a process of its own: a capture that fails leaves PyTorch's generator captured."""
    code = (
        "import torch, sparselayers as sl\n"
        "layer = sl.SparseLinear(300, 200, sparsity=0.9, device='cuda')\n"
        "x = torch.randn(4, 300, device='cuda')\n"
        "with torch.cuda.graph(torch.cuda.CUDAGraph()):\n"
        "    layer(x)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "before the layer was ever run" in done.stderr


def test_nothing_synchronises():
    layer = sl.SparseLinear(300, 200, sparsity=0.9, device="cuda")
    x = torch.randn(64, 300, device="cuda", requires_grad=True)
    trained(layer, x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trained(layer, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_on_a_stream_of_its_own():
    layer = sl.SparseLinear(300, 200, sparsity=0.9, device="cuda")
    x = torch.randn(64, 300, device="cuda", requires_grad=True)
    expected = trained(layer, x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = trained(layer, x)
    stream.synchronize()
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_on_another_device_than_the_current_one():
    layer = sl.SparseLinear(300, 200, sparsity=0.9)
    x = torch.randn(64, 300, requires_grad=True)
    expected = trained(layer, x)
    found = trained(layer.to("cuda:1"), x.detach().to("cuda:1").requires_grad_())
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device == torch.device("cuda:1")
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-4)


def test_an_input_on_another_device_is_refused():
    layer = sl.SparseLinear(30, 20, sparsity=0.9, device="cuda")
    with pytest.raises(RuntimeError, match=r"expected an input on cuda:0, .* got cpu"):
        layer(torch.randn(4, 30))
    cpu = sl.random((20, 30), 0.9)
    values = torch.randn(cpu.nnz, device="cuda")
    with pytest.raises(RuntimeError, match=r"expected an input on cpu, .*connections"):
        sl.functional.sparse_linear(torch.randn(4, 30, device="cuda"), values, None, cpu)


def test_the_tuner_measures_on_the_device(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARSEBENCH_TUNING", "on")
    plans = pytest.importorskip("sparselayers.backends.triton_kernels.plans")
    tuner = Tuner(tmp_path / "tiles")
    monkeypatch.setattr(plans, "TUNER", tuner)
    layer = sl.SparseLinear(300, 200, sparsity=0.9, device="cuda")
    x = torch.randn(64, 300, device="cuda", requires_grad=True)
    first, spent = trained(layer, x), tuner.seconds
    assert spent > 0
    assert len(tuner.stored()) == 3  # one for each of the three products
    for ours, theirs in zip(trained(layer, x), first, strict=True):
        assert torch.equal(ours, theirs)
    assert tuner.seconds == spent


@pytest.mark.parametrize("cold", [True, False])
def test_the_devices_own_times_hold_no_launches(cold):
    meters = gpu.of(torch.device("cuda"))
    x = torch.zeros(1, device="cuda")

    def slow_to_launch():
        time.sleep(5e-3)
        x.add_(1)

    times = meters.seconds(slow_to_launch, 5, cold=cold)
    assert len(times) == 5
    assert statistics.median(times) < 5e-3


def test_a_step_that_is_captured_leaves_what_it_leaves_uncaptured():
    layer = torch.nn.Linear(30, 20, device="cuda")
    x, dy = torch.randn(4, 30, device="cuda"), torch.randn(4, 20, device="cuda")
    expected = phases.step(copy.deepcopy(layer), x.clone(), dy, "train_step", learning_rate=0.1)()
    other = copy.deepcopy(layer)
    leaves = [x.requires_grad_(), *other.parameters()]
    call = phases.step(other, x, dy, "train_step", learning_rate=0.1)
    repeat = accelerator.of(torch.device("cuda", 0)).captured(call, leaves)
    for before, after in zip(layer.parameters(), other.parameters(), strict=True):
        assert torch.equal(before, after)
    torch.testing.assert_close(repeat(), expected)
    torch.testing.assert_close(layer.weight - other.weight, 0.1 * other.weight.grad)
    assert x.grad is not None


def test_memory_is_what_the_mathematics_needs():
    layer = sl.SparseLinear(2048, 2048, False, sparsity=0.9, device="cuda")
    x = torch.randn(128, 2048, device="cuda", requires_grad=True)
    trained(layer, x)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trained(layer, x)
    torch.cuda.synchronize()
    added = torch.cuda.max_memory_allocated() - before
    # The gradients of the values and of the input, and both layouts of x, y and dy.
    assert added < 2 * (4 * layer.weights.numel() + 6 * x.numel() * 4)
