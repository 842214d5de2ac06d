"""What checks found, for people: on a terminal, in Markdown, over a history."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench.analysis.estimates import Estimate
from sparsebench.regression.judging import typical
from sparsebench.regression.results import UNITS, Check, Commit, Finding, WireFinding
from sparsebench.views import units

_STYLES = {"slower": "red", "broken": "red", "faster": "green", "can't tell": "yellow"}
_COLUMNS = ("workload", "", "base", "head", "head/base", "")


def table(check: Check) -> Table:
    """Return every finding as a table for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in _COLUMNS:
        shown.add_column(title, no_wrap=title != "workload", overflow="ellipsis")
    for finding in check.findings:
        *cells, word = _cells(finding)
        style = _STYLES.get(finding.verdict, "")
        shown.add_row(*cells, Text(word, style=style))
    return shown


def sentence(check: Check) -> str:
    """Return the verdict in one sentence."""
    base, head = named(check.base), named(check.head)
    bad = check.failures
    if not bad:
        return f"{head} is not slower than {base}: no workload by more than {_by(check)}."
    names = ", ".join(dict.fromkeys(f.workload for f in bad))
    return f"{head} is slower than {base}, or broken: {names}."


def markdown(check: Check) -> str:
    """Return the verdict and the table as Markdown, for a comment on a pull request."""
    lines = [
        "### Performance check: " + ("**failed**" if check.failures else "passed"),
        "",
        sentence(check),
        "",
        "| workload | | base | head | head/base (95%) | |",
        "|---|---|---|---|---|---|",
    ]
    for finding in check.findings:
        cells = _cells(finding)
        if finding.verdict in ("slower", "broken"):
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    processor = check.machine.get("cpu", {}).get("model", "an unknown processor")
    runs = f"{check.settings['processes']:g} fresh processes of each side, in turn (A B B A)"
    again = " (again): suspect at first, and judged by fresh processes." * any(
        f.again for f in check.findings
    )
    lines += ["", f"{runs}, on {processor}, in {check.wall_s:.0f} s.{again}", ""]
    return "\n".join(lines)


def wires(findings: Sequence[WireFinding]) -> Table:
    """Return every trip wire as a table for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("workload", "", "over", "is", "at most", ""):
        shown.add_column(title, no_wrap=title != "workload", overflow="ellipsis")
    for found in findings:
        word = Text("holds") if found.held else Text("tripped", style="red")
        if found.message:
            word = Text(found.message, style="yellow" if found.held else "red")
        ratio = "" if found.ratio is None else f"{found.ratio:g}"
        shown.add_row(found.workload, found.measure, found.against, ratio, f"{found.limit:g}", word)
    return shown


def interval(ratio: Estimate) -> str:
    """Return a ratio near 1 with its interval: 1.02 (0.98–1.07)."""
    return f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def named(commit: Commit) -> str:
    """Return a revision in words."""
    return f"{commit.commit}{' with changes' if commit.modified else ''}"


def _cells(finding: Finding) -> list[str]:
    unit = UNITS[finding.measure]
    word = finding.verdict + (" (again)" if finding.again else "")
    if finding.ratio is None:
        return [finding.workload, finding.measure, "", "", "", _clipped(word, finding.message)]
    sides = [units.quantity(typical(side), unit) for side in (finding.base, finding.head)]
    return [finding.workload, finding.measure, *sides, interval(finding.ratio), word]


def _clipped(word: str, message: str) -> str:
    return f"{word}: {message[:80]}" if message else word


def _by(check: Check) -> str:
    return units.percent(round(check.tolerance, 4))
