"""What `make sanitize` runs is what drives the kernels."""

import re
from pathlib import Path

from tests.sanitize import SANITIZERS

TESTS = Path(__file__).parent
DRIVES = re.compile(r"^(from|import) .*(\bnative\b|\bby_rows\b)", re.MULTILINE)
# One asks what would be chosen, one takes memory that exists only where it is written.
OTHERS = {"test_choice.py", "test_large.py"}


def test_all_that_drives_the_kernels_is_run():
    files = {
        f"tests/sparselayers/{file.name}"
        for file in (TESTS / "sparselayers").glob("test_*.py")
        if file.name not in OTHERS and DRIVES.search(file.read_text("utf-8"))
    }
    assert files
    assert files <= set(SANITIZERS["address"].tests)


def test_both_halves_run_the_first_use_by_several_threads():
    for sanitizer in SANITIZERS.values():
        assert "tests/workflows/test_threads.py" in sanitizer.tests
        assert all((TESTS.parent / file).is_file() for file in sanitizer.tests)
