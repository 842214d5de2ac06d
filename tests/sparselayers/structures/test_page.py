"""The examples of docs/guides/structures.md run as they are, one after the other."""

import re
from pathlib import Path

import torch

from sparselayers import structures

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "structures.md"


def test_the_page_runs(capsys):
    text = PAGE.read_text("utf-8")
    code = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names = {}
    exec("\n".join(code), names)
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0]) == names["layer"].sparsity
    assert "its 10 outputs are no multiple of 8; allowed are 1, 2, 5, 10" in printed[1]
    assert names["half"].sparsity == 0.5
    assert isinstance(names["sparse"][2], torch.nn.Linear)
    assert names["whole"][0].sparsity > 0.89
    for name in re.findall(r'`"([^"`]+)"`', text):
        assert structures.named(name).name == name
