"""The power curve in docs/ is that of its committed record, of the rule that is in force."""

import json
import re
from pathlib import Path

from sparsebench.regression import judging

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "results" / "reference" / "check" / "power.json"
PAGE = ROOT / "docs" / "guides" / "performance-check.md"
BLOCK = re.compile(r"(<!-- power -->\n)(.*?)(<!-- end of power -->)", re.DOTALL)


def table():
    """The table of the record, as Markdown."""
    rows = ["", "| slower by | caught | another was blamed | seconds | in 95% of runs at most |"]
    rows.append("|---|---|---|---|---|")
    for row in json.loads(RECORD.read_text())["curve"]:
        caught = f"{100 * row['caught'] / row['runs']:.1f}%" if row["factor"] > 1 else ""
        blamed = f"{100 * row['false_alarms'] / row['runs']:.2f}%"
        by = f"{100 * (row['factor'] - 1):.0f}%" if row["factor"] > 1 else "nothing"
        rows.append(f"| {by} | {caught} | {blamed} | {row['seconds']} | {row['seconds_95']} |")
    return "\n".join([*rows, "", ""])


def test_the_docs_show_the_record():
    text = PAGE.read_text(encoding="utf-8")
    assert BLOCK.search(text)[2] == table()


def test_the_record_is_of_the_rule_in_force():
    assert json.loads(RECORD.read_text())["rule"] == {
        "processes": judging.LEAST_PROCESSES,
        "again": judging.MOST_AGAIN,
        "tolerance": judging.TOLERANCE,
        "quickest": judging.QUICKEST,
    }


def test_twenty_percent_is_caught_and_alarms_are_rare():
    curve = {row["factor"]: row for row in json.loads(RECORD.read_text())["curve"]}
    assert curve[1.2]["caught"] >= 0.95 * curve[1.2]["runs"]
    assert all(row["false_alarms"] <= 0.01 * row["runs"] for row in curve.values())
    assert curve[1.0]["caught"] <= 0.01 * curve[1.0]["runs"]
    assert all(row["seconds"] <= 360 for row in curve.values())
    assert curve[1.0]["seconds_95"] <= 360
