"""The commands of docs/guides/sharing-results.md, in their order, as they stand there."""

import re
import shlex
from pathlib import Path

import sparsebench.training.chapters  # noqa: F401 — as the command has it
from sparsebench import cli
from sparsebench.records import contribution
from tests.sparsebench.factory import sweep
from tests.sparsebench.views.test_page import write

PAGE = (Path(__file__).parents[3] / "docs/guides/sharing-results.md").read_text("utf-8")
SMALL = {"widths": (512,), "batches": (1,), "sparsities": (0.9,), "phases": ("inference",)}


def test_the_commands_of_the_page_do_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("results/mine"), sweep(**SMALL, implementations=("dense", "ours")))
    commands = re.findall(r"^sparsebench (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in sorted(commands):  # contribute is told last, and read by site
        name, *arguments = shlex.split(command)
        cli.command(name).main(arguments, standalone_mode=False)
    assert Path("report.html").exists()
    assert Path("public/index.html").exists()
    assert len(list(Path("contribution").glob("*.records.jsonl"))) == 1
    assert "contribution.html" in {path.name for path in Path("public").iterdir()}


def test_the_page_names_what_is_kept_of_a_run():
    for name in contribution.RUN:
        assert f"`{name}`" in PAGE
