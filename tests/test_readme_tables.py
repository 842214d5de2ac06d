"""Every table of figures in the README and below docs/ follows from the committed records."""

import re

import pytest

from tests.readme_tables import BLOCK, PAGES, README, ROOT, body, updated

TEXT = README.read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_are_what_the_records_say(page):
    text = page.read_text("utf-8")
    assert updated(text) == text, "run `make readme`"
    left = len(re.findall("<!-- figures", text))
    assert left == len(BLOCK.findall(text)) == text.count("<!-- end -->"), "an open comment"


def test_the_pages_have_tables():
    assert len(BLOCK.findall(TEXT)) == 2
    assert sum(len(BLOCK.findall(page.read_text("utf-8"))) for page in PAGES) > 30


def test_a_changed_figure_is_noticed():
    block = BLOCK.search(TEXT)
    digit = re.search(r"\d", block[3])
    wrong = block[3].replace(digit[0], str((int(digit[0]) + 1) % 10), 1)
    changed = block[0].replace(block[3], wrong, 1)
    assert changed != block[0] == updated(changed)


def test_columns_and_conditions_choose_what_is_shown():
    order = "intel-xeon/headline/measurements | implementation, time"
    lines = body(f"{order} | phase=inference; implementation=ours").splitlines()
    assert lines == ["| implementation | time |", "|---|---|", "| ours | 1.25 ms° |"]
