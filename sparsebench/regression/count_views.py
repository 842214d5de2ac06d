"""What a check of instructions found, for people: on a terminal, and in Markdown."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench.regression.results import CountCheck, CountFinding
from sparsebench.regression.views import named
from sparsebench.views import units

_STYLES = {"more": "red", "broken": "red", "fewer": "green"}
_COLUMNS = ("workload", "base", "head", "head/base", "")


def table(check: CountCheck) -> Table:
    """Return every finding as a table for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in _COLUMNS:
        right = title in _COLUMNS[1:-1]
        shown.add_column(title, no_wrap=True, justify="right" if right else "left")
    for finding in check.findings:
        *cells, word = _cells(finding)
        shown.add_row(*cells, Text(word, style=_STYLES.get(finding.verdict, "")))
    return shown


def sentence(check: CountCheck) -> str:
    """Return the verdict in one sentence, and what was not compared in another."""
    base, head, by = named(check.base), named(check.head), units.percent(round(check.tolerance, 4))
    compared = sum(f.ratio is not None for f in check.findings)
    if check.failures:
        names = ", ".join(f.workload for f in check.failures)
        text = f"{head} executes over {by} more instructions than {base}, or is broken: {names}."
    elif compared:
        text = (
            f"{head} does not execute more instructions than {base}: no workload by more than {by}."
        )
    else:
        text = f"no workload of {head} can be compared with {base}."
    alone = [f.workload for f in check.findings if f.ratio is None and f not in check.failures]
    return f"{text} Not compared: {', '.join(alone)}." if alone else text


def markdown(check: CountCheck) -> str:
    """Return the verdict, and a table of what changed at all, for a comment on a pull request."""
    lines = [
        "### Instructions: " + ("**failed**" if check.failures else "passed"),
        "",
        sentence(check),
    ]
    changed = [f for f in check.findings if f.base != f.head or f.ratio is None]
    if changed:
        lines += ["", "| workload | base | head | head/base | |", "|---|--:|--:|--:|---|"]
    for finding in changed:
        cells = _cells(finding)
        if finding in check.failures:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    alike = f"{len(check.findings) - len(changed)} of {len(check.findings)} workloads count alike"
    lines += ["", f"{alike}. By {check.tool}, one thread, in {check.wall_s:.0f} s.", ""]
    return "\n".join(lines)


def _cells(finding: CountFinding) -> list[str]:
    counts = ["" if n is None else f"{n:,}" for n in (finding.base, finding.head)]
    ratio = "" if finding.ratio is None else f"{finding.ratio:.4f}"
    message = f"{finding.verdict}: {finding.message[:80]}" if finding.message else finding.verdict
    return [finding.workload, *counts, ratio, message]
