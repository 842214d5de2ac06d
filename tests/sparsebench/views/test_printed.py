import pandas as pd
from rich.console import Console

from sparsebench.views.tables import Table, printed


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
    console = Console(width=100, record=True)
    with console.capture():
        console.print(printed(Table("name", "A [caption]", text, text)))
    caption, head, _, *rows = console.export_text().splitlines()
    assert caption == "A [caption]"
    assert head.split() == ["row", "gain", "time", "why", "note"]
    first, second = rows[:2]
    assert second.startswith("[dense] and wide ")
    assert first.index("+0.1") + 4 == second.index("-10.25") + 6
    assert first.index("not measured") + 12 == second.index("3 ms") + 4
    assert first.index("as it is") == second.rindex("1")


def test_the_first_columns_are_never_wrapped():
    text = pd.DataFrame({"row": ["one two three four five"], "why": ["six seven eight nine ten"]})
    console = Console(width=32, record=True)
    with console.capture():
        console.print(printed(Table("name", "", text, text)))
    assert "one two three four five" in console.export_text()
