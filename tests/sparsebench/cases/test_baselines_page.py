"""The page about baselines names what there is, and its sweep is one."""

import json
import re
from pathlib import Path

from sparsebench.cases import sweep
from sparsebench.implementations import IMPLEMENTATIONS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "design" / "baselines.md").read_text("utf-8")


def test_its_sweep_is_valid(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "page.toml"
    path.write_text(text, encoding="utf-8")
    cases = sweep.load(str(path)).cases(["cpu"], [2])
    assert {(c.gradients, c.cache) for c in cases} == {
        (gradients, cache) for gradients in ("fresh", "kept") for cache in ("warm", "cold")
    }


def test_what_its_tables_name_is_there():
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > 15
    assert named <= IMPLEMENTATIONS.keys()


def test_its_peaks_are_those_of_the_record():
    found = json.loads((ROOT / "results/reference/memory.json").read_text("utf-8"))
    assert max(found["apart"].values()) <= 0.0105
    assert {len(runs) for runs in found["bytes"].values()} == {5}
    for row, told in (("dense", "23.4 MB"), ("sparse", "7.3 MB")):
        peak = max(found["bytes"][f"mnist: {row}"]) / 1e6
        assert told == f"{peak:.1f} MB"
        assert told in PAGE
