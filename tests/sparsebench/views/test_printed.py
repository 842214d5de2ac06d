import io

import pandas as pd
from rich.console import Console

from sparsebench.views.tables import Table, printed


def lines(table, *, width):
    file = io.StringIO()
    Console(width=width, file=file).print(printed(table))
    return file.getvalue().splitlines()


def test_any_table_is_printed_under_its_caption_with_figures_flush_right():
    text = pd.DataFrame(
        {
            "row": ["sparse", "[dense] and wide"],
            "gain": ["+0.1", "-10.25"],
            "time": ["not measured", "3 ms"],
            "why": ["", "9 of them, it"],
            "note": ["as it is", "1"],
        }
    )
    shown = lines(Table("name", "A [caption]", text, text), width=100)
    caption, head, _, *rows = shown
    assert caption == "A [caption]"
    assert head.split() == ["row", "gain", "time", "why", "note"]
    first, second = rows[:2]
    assert second.startswith("[dense] and wide ")
    assert first.index("+0.1") + 4 == second.index("-10.25") + 6
    assert first.index("not measured") + 12 == second.index("3 ms") + 4
    assert first.index("as it is") == second.rindex("1")


def test_the_first_columns_are_never_wrapped():
    text = pd.DataFrame({"row": ["one two three four five"], "why": ["six seven eight nine ten"]})
    shown = lines(Table("name", "", text, text), width=32)
    assert any("one two three four five" in line for line in shown)
