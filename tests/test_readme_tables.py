"""Every table of figures in the README and below docs/ follows from the committed records.

And so do the figures in sentences that stand between comments.
"""

import re

import pandas as pd
import pytest

from tests.readme_sentences import SENTENCE, said, span, updated
from tests.readme_tables import BLOCK, PAGES, README, ROOT, body, rows_of

TEXT = README.read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_are_what_the_records_say(page):
    text = page.read_text("utf-8")
    assert updated(text) == text, "run `make readme`"
    left = len(re.findall("<!-- figures", text))
    assert left == len(BLOCK.findall(text)) == text.count("<!-- end -->"), "an open comment"
    sentences = text.count("<!-- figure: ")
    assert sentences == len(SENTENCE.findall(text)) == text.count("<!-- / -->"), "an open comment"
    # A line that begins with a comment ends a paragraph of Markdown.
    assert not re.findall(r"^ *<!-- figure: .*", text, re.MULTILINE)


def test_the_pages_have_tables():
    assert len(BLOCK.findall(TEXT)) == 2
    assert sum(len(BLOCK.findall(page.read_text("utf-8"))) for page in PAGES) > 30


def test_a_changed_figure_is_noticed():
    block = BLOCK.search(TEXT)
    digit = re.search(r"\d", block[3])
    wrong = block[3].replace(digit[0], str((int(digit[0]) + 1) % 10), 1)
    changed = block[0].replace(block[3], wrong, 1)
    assert changed != block[0] == updated(changed)


def test_a_changed_figure_in_a_sentence_is_noticed():
    order = "cell: intel-xeon/headline/measurements | time | phase=inference; implementation=ours"
    right = f"It takes <!-- figure: {order} -->1.25 ms<!-- / --> a call."
    assert updated(right.replace("1.25", "1.52")) == right


def test_figures_of_sentences_are_those_of_tables():
    """Medians of those records: dense 50.2 and 575 ms, ours 1.25 and 6.12 ms."""
    table, faster = "intel-xeon/headline/measurements", "40"
    assert said("range: intel-xeon/headline | speedup | phase=inference") == faster
    assert said("least: intel-xeon/headline | over dense | phase=inference") == faster
    assert said("mean: intel-xeon/headline | speedup / speedup | phase=inference") == "1.0"
    assert said("slower: intel-xeon/headline | speedup | phase=inference") == "0 of the 1 layers"
    time = said("most: intel-xeon/headline | time of ours | phase=inference")
    assert time == said(f"cell: {table} | time | phase=inference; implementation=ours")
    assert said(f"cells: {table} | speedup | implementation=ours") == "40 to 94×"


def test_ends_of_a_range_share_their_unit():
    assert span([1.79e-4, 4.05e-4], "s") == "179 to 405 µs"
    assert span([4.46e-4, 1.41e-3], "s") == "446 µs to 1.41 ms"
    assert span([0.764, 0.91], "×") == "0.76 to 0.91"
    assert span([14.8], "×") == "15"


def test_columns_and_conditions_choose_what_is_shown():
    order = "intel-xeon/headline/measurements | implementation, time"
    lines = body(f"{order} | phase=inference; implementation=ours").splitlines()
    assert lines == ["| implementation | time |", "|---|---|", "| ours | 1.25 ms° |"]


def test_rows_are_chosen_by_their_cells():
    frame = pd.DataFrame({"row": ["8x1 90%", "8x1 95%", "dense"], "sparsity": ["90%", "95%", ""]})
    assert rows_of(frame, "row=8x1*").index.tolist() == [0, 1]
    assert rows_of(frame, "row=8x1*; sparsity=95%").index.tolist() == [1]
    assert rows_of(frame, "").index.tolist() == [0, 1, 2]
