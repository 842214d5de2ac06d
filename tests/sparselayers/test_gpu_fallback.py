"""Where Triton is missing or fails: PyTorch's CSR tensors, and one warning that says why."""

import subprocess
import warnings

import pytest
import torch

from sparselayers import accelerator, backends
from sparselayers.backends import BACKENDS, triton
from sparselayers.backends.triton_kernels import ways
from tests.sparselayers.test_backends import problem


class CompilationError(Exception):
    """Stands for Triton's own, on a machine that may have no Triton."""


CompilationError.__module__ = "triton.compiler.errors"


def products(backend, connectivity, values, bias, x, dy):
    y = backend.forward(backend.arrange(x, connectivity), values, bias, connectivity)
    return y, *backend.backward(dy, x, values, connectivity, needs=(True, True, True))


def numbers(dtype):
    connectivity, weight, x = problem((23, 31), 7, dtype=dtype)
    values, bias = weight[connectivity.mask()], torch.randn(23, dtype=dtype)
    return connectivity, values, bias, x, torch.randn(7, 23, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_csr_matches_the_reference(dtype):
    given = numbers(dtype)
    found = products(BACKENDS["csr"], *given)
    for ours, theirs in zip(found, products(BACKENDS["reference"], *given), strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs)


def test_a_kernel_that_does_not_compile_warns_once(monkeypatch):
    def fails(*args):
        raise CompilationError("at 3:4:\nunknown instruction")

    for product in ("forward", "grad_input", "grad_values", "grad_values_and_bias"):
        monkeypatch.setattr(ways, product, fails)
    monkeypatch.setattr(triton, "_interpreting", lambda: False)
    backend, given = triton.Triton(), numbers(torch.float32)
    with pytest.warns(RuntimeWarning, match="does not compile: CompilationError: unknown instr"):
        first = products(backend, *given)
    assert "does not compile: CompilationError: unknown instr" in backend.broken
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = products(backend, *given)
    for found in (first, second):
        for ours, theirs in zip(found, products(BACKENDS["reference"], *given), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CompilationError("x"), True),
        (RuntimeError("Failed to find C compiler. Please specify via CC"), True),
        (subprocess.CalledProcessError(1, "cc"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access"), False),
    ],
)
def test_which_errors_are_the_compilers(error, expected, monkeypatch):
    monkeypatch.setattr(triton, "_interpreting", lambda: False)
    assert triton.is_of_the_compiler(error) is expected


def test_without_triton_cuda_gets_csr_and_one_warning(monkeypatch):
    monkeypatch.setattr(backends, "_warned", set())
    monkeypatch.setattr(triton, "_interpreting", lambda: False)
    monkeypatch.setattr(triton, "_missing", lambda: "Triton is not installed")
    cuda = torch.device("cuda", 0)
    choose = backends._first.__wrapped__
    with pytest.warns(RuntimeWarning, match="CSR tensors: Triton is not installed"):
        assert choose(cuda, torch.float32).name == "csr"
    assert choose(cuda, torch.bfloat16).name == "csr"


def test_an_old_gpu_gets_csr_too(monkeypatch):
    monkeypatch.setattr(triton, "_interpreting", lambda: False)
    monkeypatch.setattr(triton, "_missing", lambda: None)
    old = type("Old", (), {"capability": lambda self: (6, 1)})()
    monkeypatch.setattr(accelerator, "of", lambda device: old)
    assert "compute capability" in triton.Triton().refusal(torch.device("cuda", 0))


def test_with_triton_cuda_gets_it(monkeypatch):
    monkeypatch.setattr(triton, "_interpreting", lambda: False)
    monkeypatch.setattr(triton, "_missing", lambda: None)
    new = type("New", (), {"capability": lambda self: (9, 0)})()
    monkeypatch.setattr(accelerator, "of", lambda device: new)
    choose = backends._first.__wrapped__
    assert choose(torch.device("cuda", 0), torch.bfloat16).name == "triton"


@pytest.mark.parametrize(
    ("built", "error", "expected"),
    [
        (False, None, "this build of PyTorch has no CUDA"),
        (True, "Found no NVIDIA driver on your system.", "Found no NVIDIA driver"),
        (True, "The NVIDIA driver on your system is too old (found version 11040).", "too old"),
        (True, None, "this machine has no CUDA device"),
    ],
)
def test_why_there_is_no_gpu(built, error, expected, monkeypatch):
    def init():
        if error:
            raise RuntimeError(error)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "init", init)
    assert expected in accelerator.problem()
