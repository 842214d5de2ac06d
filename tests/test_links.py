"""Relative links on the pages that readers see lead to files that are committed."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|`[^`\n]*`(?!\])", re.DOTALL)


def _committed():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {ROOT / name for name in listed.split("\0") if name}
    return files | {folder for file in files for folder in file.parents}


COMMITTED = _committed()
PAGES = sorted(path for path in COMMITTED if path.suffix == ".md")


def anchors(text):
    """Return what GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def broken(page, text):
    """Return the relative links of a page that lead nowhere."""
    found = []
    for link in (a or b for a, b in LINK.findall(CODE.sub("", text))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, part = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if target not in COMMITTED:
            found.append(link)
        elif part and target.suffix == ".md":
            there = text if target == page else target.read_text("utf-8")
            if part not in anchors(there):
                found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_committed_file(page):
    assert not broken(page, page.read_text("utf-8"))


def test_a_broken_link_is_seen():
    page = ROOT / "README.md"
    text = (
        "# Here\n[a](docs) [b](docs/none.md) ![c](plots/none.png) [d](#there) [e](#here) `[f](g)`"
    )
    assert broken(page, text) == ["docs/none.md", "plots/none.png", "#there"]


def test_the_reference_results_are_records_and_nothing_derived():
    kept = [p for p in COMMITTED if p.is_relative_to(ROOT / "results") and p.is_file()]
    assert kept
    assert not [path for path in kept if path.suffix not in {".jsonl", ".json"}]
