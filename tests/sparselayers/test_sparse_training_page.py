"""The examples of docs/guides/sparse-training.md run as they are, one after the other."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "sparse-training.md"


def test_the_page_runs(capsys):
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names = {}
    exec("\n".join(code), names)
    assert len(capsys.readouterr().out.splitlines()) == 2
    model, optimizer = names["model"], names["optimizer"]
    rewirer = names["Nearest"](model, optimizer, update_every=1, stop_after=5)
    model(torch.randn(4, 784)).sum().backward()
    optimizer.step()
    rewirer.step()
    assert [row["layer"] for row in names["watched"].rows] == ["0", "2"]
