"""The README's examples run as they are."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[2] / "README.md"


def examples():
    return re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_every_layer_has_an_example():
    code = "\n".join(examples())
    for name in (
        "SparseLinear",
        "SparseConv2d",
        "RigL",
        "KWinners",
        "KWinners2d",
        "ActivationSparsity",
    ):
        assert f"sl.{name}(" in code


@pytest.mark.parametrize("code", examples())
def test_example(code, capsys):
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
