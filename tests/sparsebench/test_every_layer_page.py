"""The sweeps that docs/guides/every-layer.md shows can be asked, and its names are there."""

import re
from pathlib import Path

import pytest

from sparsebench.cases import sweep
from sparsebench.cases.topologies import TOPOLOGIES
from sparsebench.measuring.refusals import refusal

TEXT = (Path(__file__).parents[2] / "docs" / "guides" / "every-layer.md").read_text("utf-8")
SWEEPS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", SWEEPS)
def test_a_sweep_of_the_page_can_be_measured(text, tmp_path):
    path = tmp_path / "page.toml"
    path.write_text(text)
    cases = sweep.load(str(path)).cases(["cpu"], [1])
    assert cases
    assert not [reason for case in cases if (reason := refusal(case))]


def test_the_sweeps_and_topologies_that_the_page_names_are_there():
    assert len(SWEEPS) == 5
    assert set(re.findall(r"sparsebench run ([\w-]+)", TEXT)) <= set(sweep.names())
    rows = re.findall(r"^\| (`.*?`) \|", TEXT, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} <= TOPOLOGIES.keys()
