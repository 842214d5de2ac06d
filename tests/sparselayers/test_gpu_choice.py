"""Which way computes a product on a GPU, tried on a stand-in that takes as long as it is told."""

import pytest
import torch

import sparselayers as sl
from sparselayers import accelerator
from sparselayers.backends import triton
from sparselayers.backends.triton_kernels import choice, tuning
from sparselayers.backends.triton_kernels import ways as real
from sparselayers.backends.triton_kernels.tuning import Tuner
from tests.fake_gpu import FakeGpu


def drawn(sparsity=0.5):
    """Connections of which nothing is known yet."""
    return sl.random((64, 96), sparsity, generator=torch.Generator().manual_seed(0))


class Ways:
    """What the ways compute, and the times that they take."""

    def __init__(self, gather, bitmaps):
        self.times = {"gather": gather, "bitmaps": bitmaps}
        self.ran = []

    def compute(self, way, *given):
        if isinstance(self.times[way], Exception):
            raise self.times[way]
        self.ran.append(way)
        return torch.empty(0)

    def time_of(self, call):
        call()
        return self.times[self.ran[-1]]


@pytest.fixture
def taking(monkeypatch, tmp_path):
    """Let the ways take so long, and return them, the GPU, and a backend."""
    monkeypatch.delenv("SPARSEBENCH_TUNING", raising=False)
    monkeypatch.setattr(triton, "_interpreting", lambda: False)
    gpu = FakeGpu()
    monkeypatch.setattr(accelerator, "of", lambda device: gpu)

    def install(gather, bitmaps):
        ways = Ways(gather, bitmaps)
        monkeypatch.setattr(tuning, "TUNER", Tuner(tmp_path / f"{gather} {bitmaps}", ways.time_of))
        for product in ("forward", "grad_input", "grad_values"):
            monkeypatch.setattr(real, product, ways.compute)
        return ways, gpu, triton.Triton()

    return install


def ways_of(plan):
    return (plan.forward.way, *plan.backward.ways)


@pytest.mark.parametrize("fastest", ["gather", "bitmaps"])
def test_the_faster_way_is_taken_and_remembered(fastest, taking):
    times = {"gather": 2.0, "bitmaps": 2.0} | {fastest: 1.0}
    ways, _, backend = taking(**times)
    plan = backend.plan(128, drawn(), torch.bfloat16)
    assert ways_of(plan) == (fastest,) * 3
    assert f"{fastest}: the faster of gather and bitmaps, tried on this GPU" in str(plan)
    tries = len(ways.ran)
    assert tries
    # A layer of the same class, in another process.
    like = drawn()
    tuning.TUNER = Tuner(tuning.TUNER.path, ways.time_of)
    assert ways_of(triton.Triton().plan(100, like, torch.bfloat16)) == (fastest,) * 3
    assert len(ways.ran) == tries
    backend.plan(128, drawn(0.8), torch.bfloat16)  # of another density
    assert len(ways.ran) > tries


def test_what_another_thread_lets_go_of_meanwhile_is_chosen_again(taking, monkeypatch):
    """Of one layer a few choices are kept: one may go between two looks at them."""
    _, _, backend = taking(2.0, 1.0)
    layer = drawn()

    def there(key):
        """Answer as if it were still there, and have it go."""
        layer._derived.pop(key, None)
        return True

    assert ways_of(backend.plan(128, layer, torch.bfloat16)) == ("bitmaps",) * 3
    monkeypatch.setattr(sl.Connectivity, "has_derived", lambda self, key: there(key))
    assert ways_of(backend.plan(128, layer, torch.bfloat16)) == ("bitmaps",) * 3
    monkeypatch.undo()
    assert "tried on this GPU" in backend.plan(128, layer, torch.bfloat16).forward.why


@pytest.mark.parametrize(
    ("batch", "sparsity", "dtype", "reason"),
    [
        (63, 0.5, torch.bfloat16, "fewer than 64 samples"),
        (128, 0.5, torch.float32, "float32 where TF32 is allowed"),
        (128, 0.5, torch.float64, "tensor cores take float16"),
        (128, 0.99, torch.float16, "fewer connections than one in 64 places"),
    ],
)
def test_what_does_not_come_into_question_is_not_tried(batch, sparsity, dtype, reason, taking):
    ways, _, backend = taking(2.0, 1.0)
    plan = backend.plan(batch, drawn(sparsity), dtype)
    assert ways_of(plan) == ("gather",) * 3
    assert reason in str(plan)
    assert ways.ran == []


def test_layers_of_more_words_than_can_be_counted_are_not_tried(taking, monkeypatch):
    """A row of 96 inputs takes three words of 32, and one of 65 as many."""
    ways, _, backend = taking(2.0, 1.0)
    monkeypatch.setattr(choice, "_MOST_WORDS", 3 * 64)
    for inputs, way in ((96, "gather"), (65, "gather"), (64, "bitmaps")):
        layer = sl.random((64, inputs), 0.5, generator=torch.Generator().manual_seed(0))
        assert ways_of(backend.plan(128, layer, torch.bfloat16)) == (way,) * 3
        assert bool(ways.ran) == (way == "bitmaps")


def test_row_blocks_are_row_blocks(taking):
    ways, _, backend = taking(2.0, 1.0)
    blocks = sl.from_mask(torch.ones(16, 32, dtype=torch.bool))
    plan = backend.plan(128, blocks, torch.bfloat16)
    assert ways_of(plan) == ("row_blocks",) * 3
    assert "outputs share their inputs" in str(plan)
    assert ways.ran == []


def test_float32_is_tried_where_tf32_is_allowed(taking):
    _, _, backend = taking(2.0, 1.0)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert ways_of(backend.plan(128, drawn(), torch.float32)) == ("bitmaps",) * 3
    finally:
        torch.set_float32_matmul_precision(before)


def test_nothing_is_tried_while_a_graph_is_captured_or_where_tuning_is_off(taking, monkeypatch):
    ways, gpu, backend = taking(2.0, 1.0)
    fresh = drawn()
    gpu.is_capturing = True
    assert "while a CUDA graph is captured" in str(backend.plan(128, fresh, torch.bfloat16))
    gpu.is_capturing = False
    with monkeypatch.context() as patch:
        patch.setenv("SPARSEBENCH_TUNING", "off")
        assert "SPARSEBENCH_TUNING=off" in str(backend.plan(128, fresh, torch.bfloat16))
    assert ways.ran == []
    assert ways_of(backend.plan(128, fresh, torch.bfloat16)) == ("bitmaps",) * 3


def test_a_way_that_does_not_compile_is_not_taken(taking):
    class CompilationError(Exception):
        pass

    CompilationError.__module__ = "triton.compiler.errors"
    ways, _, backend = taking(1.0, CompilationError("unknown instruction"))
    plan = backend.plan(128, drawn(), torch.bfloat16)
    assert ways_of(plan) == ("gather",) * 3
    assert "does not compile: CompilationError" in str(plan)
    assert not backend.broken
    assert "bitmaps" not in ways.ran


def test_a_forced_way_is_not_tried(taking):
    ways, _, _ = taking(1.0, 2.0)
    for backend, way in ((triton.Gather(), "gather"), (triton.Bitmaps(), "bitmaps")):
        assert ways_of(backend.plan(128, drawn(), torch.bfloat16)) == (way,) * 3
    assert ways.ran == []


def test_an_input_is_not_copied_for_tensor_cores(taking):
    _, _, backend = taking(2.0, 1.0)
    x = torch.randn(128, 96, dtype=torch.bfloat16)
    assert backend.arrange(x, drawn()) is x
    assert backend.arrange(x[:1], drawn()).stride() == (96, 1)
    _, _, backend = taking(1.0, 2.0)
    fresh = drawn()
    assert backend.arrange(x, fresh).t().is_contiguous()
