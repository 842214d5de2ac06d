"""Every table of figures in the README follows from the committed records."""

import re

from tests.readme_tables import BLOCK, README, body, updated

TEXT = README.read_text("utf-8")


def test_the_readmes_tables_are_what_the_records_say():
    assert len(BLOCK.findall(TEXT)) >= 6
    assert updated(TEXT) == TEXT, "run `make readme`"


def test_no_comment_is_left_open_or_mistyped():
    assert (
        len(re.findall("<!-- figures", TEXT))
        == len(BLOCK.findall(TEXT))
        == TEXT.count("<!-- end -->")
    )


def test_a_changed_figure_is_noticed():
    block = BLOCK.search(TEXT)
    digit = re.search(r"\d", block[3])
    wrong = block[3].replace(digit[0], str((int(digit[0]) + 1) % 10), 1)
    assert updated(TEXT.replace(block[3], wrong, 1)) == TEXT


def test_columns_and_conditions_choose_what_is_shown():
    order = "intel-xeon/headline/measurements | implementation, time"
    lines = body(f"{order} | phase=inference; implementation=ours").splitlines()
    assert lines == ["| implementation | time |", "|---|---|", "| ours | 1.25 ms |"]
