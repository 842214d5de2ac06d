"""What `make sanitize` runs is what drives the kernels."""

import re
import subprocess
import sys
from pathlib import Path

from tests.sanitize import SANITIZERS, arguments

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


def test_what_a_sanitizer_reports_is_seen(tmp_path):
    """It writes to the process's standard error, and ends the process at once."""
    file = tmp_path / "test_ends.py"
    file.write_text("import os\ndef test():\n    os.write(2, b'a race')\n    os._exit(66)\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments([str(file)])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (66, "a race")
