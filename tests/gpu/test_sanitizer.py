"""Reads and writes out of bounds, and races, where NVIDIA's compute-sanitizer is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu.conftest import INTERPRETED

SANITIZER = shutil.which(
    "compute-sanitizer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/cuda/bin"))
)
WITHIN = "COMPUTE_SANITIZER_TEST"

pytestmark = [
    pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(SANITIZER is None, reason="compute-sanitizer is not installed"),
    pytest.mark.skipif(WITHIN in os.environ, reason="already runs under compute-sanitizer"),
]


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_products_are_clean(tool):
    command = [
        SANITIZER, f"--tool={tool}", "--error-exitcode=86", "--target-processes=all",
        sys.executable, "-m", "pytest", "-q", "-x", "tests/gpu/test_products.py",
    ]  # fmt: skip
    # Every tensor in memory of its own: what is beyond its end belongs to nobody.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", WITHIN: "1"}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
