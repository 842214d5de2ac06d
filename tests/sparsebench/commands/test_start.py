"""What a command imports before it does anything, and output of any encoding."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from sparsebench import cli

IMPORTED = """
import sys
from sparsebench import cli

for sys.argv in [["sparsebench", *each.split()] for each in sys.argv[1:]]:
    try:
        cli.main()
    except SystemExit:
        pass
print(*sorted({"torch", "pandas", "matplotlib", "torchvision"} & sys.modules.keys()))
"""

PRINTED = """
import sys
from sparsebench import cli

for encoding in sys.argv[1:]:
    for arguments in (["list"], ["--help"]):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding=encoding, errors="strict")
        sys.argv = ["sparsebench", *arguments]
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, (encoding, arguments, end.code)
"""


def started(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True
    )


def test_help_imports_nothing_that_computes():
    done = started("-c", IMPORTED, "--help", "run --help", "rum")
    assert b"Usage" in done.stdout
    assert b"rum" in done.stderr
    assert done.stdout.splitlines()[-1].strip() == b""


def test_a_shell_completes_commands_and_options():
    """What bash asks for: the words so far, and which of them to complete."""

    def completed(words):
        asked = {
            "_SPARSEBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = CliRunner().invoke(cli.app, env=asked, prog_name="sparsebench")
        return set(done.stdout.split())

    assert completed("sparsebench comp") == {"compare", "compare-linear", "compare-conv2d"}
    assert completed("sparsebench check --tr") == {"--trip-wires"}
    assert completed("sparsebench run he") == {"headline"}


def test_tab_imports_nothing_that_computes():
    asked = {
        "_SPARSEBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "sparsebench run he",
        "COMP_CWORD": "2",
    }
    script = IMPORTED.replace("cli.main()", "cli.app(prog_name='sparsebench')")
    assert started("-c", script, "", **asked).stdout.split() == [b"headline"]


def test_the_help_of_all_commands_says_what_each_says():
    for name, (_, text) in cli.COMMANDS.items():
        assert cli.command(name).help.splitlines()[0] == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_output_of_every_encoding(encoding):
    printing = (
        "from sparsebench.output import console, errors, printable; printable(); "
        "text = '3 × 10⁸ → 5–7 µs, ≥ 2.5×, … é 語'; console.print(text); print(text); "
        "errors.print(text)"
    )
    done = started("-c", printing, PYTHONIOENCODING=encoding, PYTHONUTF8="0", COLUMNS="100")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode(encoding).splitlines()
    assert first == second == done.stderr.decode(encoding).strip()
    if encoding == "ascii":
        assert first == "3 x 10^8 -> 5-7 us, >= 2.5x, ... e ?"
    if encoding == "utf-8":
        assert first == "3 × 10⁸ → 5–7 µs, ≥ 2.5×, … é 語"


def test_commands_print_in_every_encoding():
    done = started("-c", PRINTED, "ascii", "cp1252", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.count(b"Usage") == 2
