"""The same tests in Triton's interpreter on any machine, and unchanged on a GPU.

`TRITON_INTERPRET=1 pytest tests/gpu` runs them in the interpreter, `pytest -m gpu` on a GPU; the
variable has to be there before Triton is imported. `make test-slow` does the former in any case
(see tests/sparselayers/test_triton_interpreted.py), `make test` the latter where there is a GPU.
"""

import os

import numpy as np
import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def _untuned(monkeypatch):
    """Every kernel runs with the tile that a test means, and nothing is left in a user's cache."""
    monkeypatch.setenv("SPARSEBENCH_TUNING", "off")


@pytest.fixture
def device(monkeypatch):
    """Where the kernels run: a GPU, or the CPU in the interpreter."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if INTERPRETED:
        _mend_the_interpreter(monkeypatch)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1: see tests/gpu/conftest.py")
    return torch.device("cuda", torch.cuda.current_device())


def _mend_the_interpreter(monkeypatch):
    """Let Triton 3.6 (of PyTorch 2.11) count in loops with NumPy 2.4 and newer, as Triton 3.7 does.

    It turns arrays of one number into integers, which NumPy no longer does for it.
    """
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    patch = interpreter._patch_lang_tensor

    def mended(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", mended)
    _multiply_bfloat16(interpreter, monkeypatch)


def _multiply_bfloat16(interpreter, monkeypatch):
    """Have dot products of bfloat16, which it keeps as 16 bits, multiply numbers, not the bits."""
    create_dot = interpreter.InterpreterBuilder.create_dot

    def widened(handle):
        if handle.dtype.scalar != interpreter.tl.bfloat16:
            return handle
        bits = handle.data.astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), interpreter.tl.float32)

    def mended(self, a, b, *rest):
        return create_dot(self, widened(a), widened(b), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", mended)
