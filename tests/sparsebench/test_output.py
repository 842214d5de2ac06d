"""Answers are as wide as they need, on narrow terminals and in pipes."""

import io

import pytest
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sparsebench import output
from sparsebench.analysis.points import points
from sparsebench.views import tables
from tests.sparsebench.factory import sweep


@pytest.mark.parametrize("width", [40, 80])
def test_nothing_is_cut_that_matters(width, monkeypatch):
    narrow = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(output, "console", narrow)
    output.show(tables.terminal(sweep(widths=(512, 1024))))
    text = narrow.file.getvalue()
    assert "…" not in text
    assert "train step" in text
    for name in ("ours", "peer", "masked", "coo"):
        assert name in text
    every = points(sweep(widths=(512, 1024)))
    assert str(max(p.case.in_features for p in every)) in text


def test_what_fits_is_printed_as_ever(monkeypatch):
    console = Console(file=io.StringIO(), width=60)
    monkeypatch.setattr(output, "console", console)
    table = Table("a", "b")
    table.add_row("1", "2")
    output.show(Group(table, Text("done")))
    expected = Console(file=io.StringIO(), width=60)
    expected.print(Group(table, Text("done")))
    assert console.file.getvalue() == expected.file.getvalue()
