"""TOML files: which line says what, and files that cannot be read."""

import pytest

from sparsebench.cases import files, sweep
from sparsebench.errors import InputError

TEXT = """\
rate = 1
[grid]
rate = 2
[[rows]]
rate = 3
[[rows]]
other = 4
[rows.inner]
rate = 5
[recipes.long]
rate = 6
"""


@pytest.mark.parametrize(
    ("at", "line"),
    [
        (("rate",), 1),
        (("grid",), 2),
        (("grid", "rate"), 3),
        (("grid", "rate", 1), 3),
        (("rows", 0, "rate"), 5),
        (("rows", 1), 6),
        (("rows", 1, "rate"), 6),  # not there: where its table begins
        (("rows", 1, "inner", "rate"), 9),
        (("recipes", "long", "rate"), 11),
        (("inline", "rate"), 1),
        (("nothing",), None),
        ((), None),
    ],
)
def test_a_field_is_found_in_its_own_table(at, line):
    assert files.line_of(at, TEXT) == line


def test_what_is_shipped_is_found_by_name_and_anything_by_path(tmp_path):
    assert files.find("smoke", "sweeps").place == "experiments/sweeps/smoke.toml"
    path = tmp_path / "smoke.toml"
    path.write_text("rounds = 3")
    assert files.find(str(path), "sweeps").content() == {"rounds": 3}
    assert files.find("smoke", "training") is None
    assert files.find(str(tmp_path), "sweeps") is None


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(b'description = "\xff"')
    with pytest.raises(InputError, match=rf"{path}: cannot be read: .*0xff"):
        sweep.load(str(path))
