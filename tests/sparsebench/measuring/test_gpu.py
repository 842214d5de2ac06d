"""What the harness asks of a GPU, on a stand-in: times, memory, limits, refusals."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.advisor import Question
from sparsebench.advisor.interpolation import from_records
from sparsebench.analysis.roofline import roof
from sparsebench.cases import sweep
from sparsebench.errors import InputError
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.dense_tf32 import tensor_cores
from sparsebench.measuring import gpu, isolation, machine, memory, runner, timing, worker
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.refusals import refusal
from sparsebench.measuring.roofline import probe
from sparselayers import accelerator, backends
from tests.fake_gpu import FakeGpu, installed
from tests.sparsebench.cases.test_case import CASE
from tests.sparsebench.factory import MACHINE
from tests.sparsebench.factory import sweep as sweep_of

ON_GPU = replace(CASE, device="cuda")


def test_times_are_cold_hot_and_from_end_to_end(monkeypatch):
    gpu, calls = installed(monkeypatch, FakeGpu(times=[3e-3, 4e-3, 3e-3, 1e-3])), []
    times = timing.measure(lambda: calls.append(0), device="cuda", threads=1, seconds=1e-9)
    assert times.samples == [3e-3, 4e-3, 3e-3]
    assert times.hot == [1e-3] * 3
    assert len(times.wall) == 3
    assert all(wall > 0 for wall in times.wall)
    assert gpu.log[:3] == ["synchronize"] * 3  # warmed up before anything counts
    assert gpu.log[3:5] == ["cold", "hot"]
    assert len(calls) == 3 + 3 * 3
    torch.set_num_threads(torch.get_num_threads())


def test_samples_of_a_gpu_are_not_endless(monkeypatch):
    installed(monkeypatch)
    times = timing.measure(lambda: None, device="cuda", threads=1, seconds=60)
    assert len(times.samples) == len(times.hot) == len(times.wall) == timing.MOST_SAMPLES


def test_a_peak_is_what_the_allocator_saw(monkeypatch):
    gpu = installed(monkeypatch)
    gpu.allocate(1000)

    def step():
        gpu.allocate(300)
        gpu.allocate(500)
        gpu.allocate(-800)

    assert memory.peak(step, "cuda") == (800, "torch.cuda.max_memory_allocated")
    assert memory.held("cuda") == 1000
    assert memory.available("cuda") == gpu.free()


def test_memory_that_libraries_keep_is_taken_before(monkeypatch):
    gpu = installed(monkeypatch)
    memory.settle("cuda", torch.float32)
    assert gpu.log == ["settle"]


def test_the_probe_takes_the_gpus_own_times(monkeypatch):
    installed(monkeypatch, FakeGpu(times=[1e-2]))
    monkeypatch.setattr(torch, "randn", lambda *size, device: torch.zeros(2, 2))
    monkeypatch.setattr(torch, "ones", lambda size, device: torch.zeros(size // 2**20))
    found = probe("cuda", "float32", torch.get_num_threads())
    assert found["matmul_gflops"] == pytest.approx(2 * 8192**3 / 1e-2 / 1e9, rel=1e-3)
    assert found["cache_gb_s"] == []  # cases are timed with a cold cache
    assert roof({"roofline": found}).bandwidth(1) == pytest.approx(1e9 * found["stream_gb_s"])


def test_the_fingerprint_names_every_gpu(monkeypatch):
    gpu = installed(monkeypatch, count=2)
    monkeypatch.setattr(machine, "_torch", dict)
    assert machine.fingerprint.__wrapped__()["gpus"] == [gpu.description()] * 2
    assert machine.devices() == ["cpu", "cuda"]


def test_a_gpu_that_is_there_is_not_refused(monkeypatch):
    gpu = installed(monkeypatch, count=2)
    for device in ("cuda", "cuda:1"):
        assert refusal(replace(ON_GPU, implementation="dense", device=device)) is None
        machine.check_device(device)
    gpu._free = 100
    reason = refusal(replace(ON_GPU, implementation="dense"))
    assert "cuda memory" in reason


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda:2", "there is no cuda:2: choose from cuda:0, cuda:1"), ("tpu", "choose cpu, cuda")],
)
def test_a_gpu_that_is_not_there(device, expected, monkeypatch):
    installed(monkeypatch, count=2)
    with pytest.raises(InputError, match=f"--device {device}: .*{expected}"):
        machine.check_device(device)
    if device != "tpu":
        assert expected in refusal(replace(ON_GPU, implementation="dense", device=device))


def test_without_a_gpu_the_reason_is_the_drivers(monkeypatch):
    monkeypatch.setattr(accelerator, "usable", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)

    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.cuda, "init", init)
    assert "driver on your system is too old" in refusal(replace(ON_GPU, implementation="dense"))
    with pytest.raises(InputError, match=r"--device cuda: .* too old"):
        machine.check_device("cuda")


def test_tf32_needs_its_units(monkeypatch):
    case = replace(ON_GPU, implementation="dense_tf32")
    installed(monkeypatch, FakeGpu(capability=(7, 5)))
    assert "compute capability 8.0" in refusal(case)
    installed(monkeypatch, FakeGpu(capability=(9, 0)))
    assert refusal(case) is None
    assert "does not support device cpu" in refusal(replace(case, device="cpu"))


def test_tf32_is_switched_on_where_it_is_measured():
    drawn = worker.problem.make(replace(CASE, implementation="dense_tf32"))
    assert torch.get_float32_matmul_precision() == "highest"  # what `dense` is measured in
    try:
        IMPLEMENTATIONS["dense_tf32"].build(drawn)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        tensor_cores(use=False)
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_time_of_tuning_is_recorded(monkeypatch, tmp_path):
    class Tuner:
        cost = 0.0

    tuner = Tuner()
    monkeypatch.setattr(worker, "TUNER", tuner)
    case = replace(CASE, implementation="dense", threads=torch.get_num_threads())
    worker.prepare(case, tmp_path)
    build = type(IMPLEMENTATIONS["dense"]).build

    def slow(self, given):
        tuner.cost += 1.25
        return build(self, given)

    monkeypatch.setattr(type(IMPLEMENTATIONS["dense"]), "build", slow)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.tuning_s == 1.25
    turns = runner.Turns(case, outcomes=[outcome, replace(outcome, tuning_s=0.5)])
    assert turns.record({}, {}).tuning_s == 1.25


def test_hot_and_wall_samples_are_recorded():
    times = timing.Times([3.0, 3.0], 1, [1.0, 1.0], [4.0, 4.0])
    turns = runner.Turns(CASE, outcomes=[worker.Outcome("ok", times=times)] * 2)
    record = turns.record({}, {})
    assert record.samples == [3.0] * 4
    assert record.hot_samples == [1.0] * 4
    assert record.wall_samples == [4.0] * 4


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error, expected):
    assert gpu.out_of_memory(error) is expected


def test_memory_is_given_back(monkeypatch):
    fake = installed(monkeypatch)
    gpu.release("cpu")
    assert fake.log == []
    gpu.release("cuda")
    assert fake.log == ["release"]


def test_processes_can_still_begin_to_use_cuda():
    """Asking for GPUs before a fork would keep every child from using them."""
    assert not isolation.call(torch.cuda._is_in_bad_fork, timeout_s=600)


def test_the_gpu_sweep_asks_for_a_gpu_alone():
    asked = sweep.load("gpu")
    cases = asked.cases(["cpu"], [1])
    assert {case.device for case in cases} == {"cuda"}
    assert all(IMPLEMENTATIONS[case.implementation].unsupported(case) is None for case in cases)
    names = {"dense", "dense_tf32", "dense_bf16", "torch_csr", "ours"}
    assert names <= {case.implementation for case in cases if case.in_features == 4096}


@pytest.mark.parametrize("phase", ["inference", "forward_backward", "train_step"])
@pytest.mark.parametrize("name", ["dense_graph", "ours_graph"])
def test_steps_of_graphs_are_captured_and_right(name, phase, monkeypatch, tmp_path):
    fake = installed(monkeypatch)
    case = replace(CASE, implementation=name, phase=phase, threads=torch.get_num_threads())
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.status == "ok", outcome.message
    assert outcome.errors.keys() == {"output", "input", "values", "bias"}
    assert outcome.memory.held is None
    assert set(fake.log) == {"capture"}


@pytest.mark.parametrize("name", ["gpu-more", "gpu-ways"])
def test_sweeps_for_gpus_ask_for_what_is_supported(name):
    cases = sweep.load(name).cases(["cpu"], [1])
    assert {case.device for case in cases} == {"cuda"}
    assert all(IMPLEMENTATIONS[case.implementation].unsupported(case) is None for case in cases)


def test_what_a_graph_is_for_needs_a_gpu():
    for name in ("dense_graph", "ours_graph", "ours_gather", "ours_bitmaps"):
        case = replace(CASE, implementation=name)
        assert "does not support device cpu" in IMPLEMENTATIONS[name].unsupported(case)
        assert IMPLEMENTATIONS[name].unsupported(replace(case, device="cuda")) is None


def test_a_record_says_that_kernels_fell_back(monkeypatch, tmp_path):
    monkeypatch.setattr(backends.BACKENDS["triton"], "broken", "a Triton kernel does not compile")
    case = replace(CASE, implementation="ours", threads=torch.get_num_threads())
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert (outcome.status, outcome.message) == ("ok", "a Triton kernel does not compile")


def test_a_sweep_for_gpus_needs_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accelerator, "usable", lambda: False)
    answer = CliRunner().invoke(cli.app, ["run", "gpu"])
    assert isinstance(answer.exception, InputError)
    assert "no case of gpu can be measured: this" in str(answer.exception)
    assert list(tmp_path.iterdir()) == []
    shown = CliRunner().invoke(cli.app, ["run", "gpu", "--dry-run", "-f", "width=2048"])
    assert "unsupported: this" in shown.stdout


def test_a_layer_on_tensor_cores_is_no_advice():
    records = sweep_of(widths=(512,), batches=(1,), phases=("inference",))
    fast = [
        r.model_copy(
            update={
                "case": replace(r.case, implementation="dense_bf16"),
                "samples": [sample / 1000 for sample in r.samples],
            }
        )
        for r in records
        if r.case.implementation == "dense"
    ]
    asked = Question(
        in_features=512, out_features=512, sparsity=0.9, batch=1, phase="inference", threads=2
    )
    advice = from_records(asked, [*records, *fast], MACHINE["id"])
    assert advice.best.implementation == "ours"
    assert "dense_bf16" not in {candidate.implementation for candidate in advice.candidates}


def test_a_gpu_takes_less_time_and_its_processes_more():
    estimate = Estimator(runner.Settings(rounds=1, sample_s=0.1))
    small, large = (
        replace(CASE, implementation="dense", in_features=n, out_features=n, batch=512)
        for n in (16, 16384)
    )
    assert estimate(replace(small, device="cuda")) > estimate(small)
    assert estimate(replace(large, device="cuda")) < estimate(large)
