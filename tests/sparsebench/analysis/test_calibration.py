"""The figures about intervals in docs/ are those of their committed records."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "results" / "reference"
PAGE = ROOT / "docs" / "design" / "intervals.md"
KINDS = ("rounds", "all samples together", "rounds drawn with replacement")


def read(name):
    return json.loads((REFERENCE / name).read_text())


def block(name):
    text = PAGE.read_text(encoding="utf-8")
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)[1]


def simulated():
    rows = [
        "",
        "| processes | scatter between them | " + " | ".join(KINDS) + " |",
        "|---" * 5 + "|",
    ]
    for row in read("calibration-simulated.json"):
        shares = " | ".join(f"{100 * row['held'][kind]:.0f}%" for kind in KINDS)
        rows.append(f"| {row['processes']} | {100 * row['between']:.0f}% | {shares} |")
    return "\n".join([*rows, "", ""])


def calibration():
    found = read("calibration.json")
    words = {"time": "times", "speedup": "speed-ups", "same_work": "dense at four sparsities"}
    rows = ["", "| | holds the median of the others | pairs that do not meet |", "|---|---|---|"]
    for name, said in words.items():
        held, apart = (found[name][k] for k in ("holds_median_of_others", "pairs_apart"))
        rows.append(f"| {said} | {100 * held:.0f}% | {100 * apart:.1f}% |")
    told = found["compare"]
    rows += [
        "",
        f"`compare` called {told['mean']:.1f} of {found['cases']} cases faster or slower in the "
        f"mean of {told['pairs_of_runs']} pairs of runs, {told['most']} at the most.",
    ]
    return "\n".join([*rows, "", ""])


def stopped():
    rows = [
        "",
        "| scatter between processes | asked for | rounds at least | on the average | hold it |",
        "|---" * 5 + "|",
    ]
    for row in read("calibration-stopped.json"):
        percents = (f"{100 * row[name]:.0f}%" for name in ("between", "asked"))
        counts = f"{row['least']} | {row['rounds']:.1f} | {100 * row['held']:.1f}%"
        rows.append(f"| {' | '.join(percents)} | {counts} |")
    return "\n".join([*rows, "", ""])


def test_the_page_shows_what_was_simulated():
    assert block("simulated") == simulated()
    assert block("stopped") == stopped()


def test_who_stops_where_it_is_narrow_by_chance_holds_the_truth_less_often():
    for row in read("calibration-stopped.json"):
        assert row["least"] == 3 or row["held"] >= 0.92


@pytest.mark.skipif(not (REFERENCE / "calibration.json").exists(), reason="not measured yet")
def test_the_page_shows_what_was_measured():
    assert block("calibration") == calibration()


def test_the_interval_holds_the_truth_and_the_others_do_not():
    for row in read("calibration-simulated.json"):
        assert 0.93 <= row["held"]["rounds"] <= 0.97
        assert row["held"]["all samples together"] < 0.75
