"""The counts of the trial in docs/ are those of its committed record."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "results" / "reference" / "check" / "trial.jsonl"


def test_the_docs_count_what_the_record_holds():
    runs = [json.loads(line) for line in RECORD.read_text().splitlines()]
    text = (ROOT / "docs" / "performance-check.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (slower by 30%|the same) \| (.*) \|$", text, re.MULTILINE))
    assert rows == {
        name: _row([run for run in runs if run["kind"] == kind])
        for name, kind in (("slower by 30%", "slower"), ("the same", "same"))
    }


def _row(runs):
    timed = [[f for f in run["findings"] if f["measure"] == "time"] for run in runs]
    slower = [sum(f["verdict"] == "slower" for f in found) for found in timed]
    ratios = [f["ratio"]["value"] for found in timed for f in found]
    seconds = [run["wall_s"] for run in runs]
    return " | ".join(
        (
            f"{sum(run['failed'] for run in runs)} of {len(runs)}",
            f"{sum(slower)} of {sum(map(len, timed))}",
            f"{min(ratios):.2f}–{max(ratios):.2f}",
            f"{min(seconds):.0f}–{max(seconds):.0f}",
        )
    )
