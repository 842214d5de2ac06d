"""The tests of tests/gpu, in Triton's interpreter: in a process of its own.

Triton decides when it is imported whether kernels are interpreted.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCTS = ("tests/gpu/test_products.py",)
ALL_OTHERS = ("tests/gpu", "--ignore", "tests/gpu/test_products.py")


@pytest.mark.slow
@pytest.mark.parametrize("which", [PRODUCTS, ALL_OTHERS], ids=["products", "others"])
def test_the_gpu_tests_pass_in_the_interpreter(which):
    pytest.importorskip("triton", reason="Triton is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *which]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
