"""What README.md and the pages below docs/ show runs as it stands: code, commands, messages."""

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch

import sparsebench
import sparselayers as sl
from sparsebench.cases.sweep import Sweep
from sparsebench.cli import COMMANDS, command
from sparsebench.models.experiment import Experiment as Models
from sparsebench.training.experiment import Table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
GUIDES = [*(DOCS / "start").glob("*.md"), *(DOCS / "guides").glob("*.md")]
# Their code is run, and looked at, by tests of their own in tests/sparselayers/.
ELSEWHERE = {
    DOCS / "guides" / name for name in ("sparse-training.md", "structures.md", "models.md")
}


PACKAGES = (
    "analysis",
    "backends",
    "convert",
    "dynamic",
    "functional",
    "prune",
    "structures",
    "topologies",
)


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """Return the code of a page: `python` is run here, `py` needs more than a test has."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [code for kind, code in fences if kind == language]


WITH_CODE = [page for page in PAGES if blocks(page, "python") and page not in ELSEWHERE]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
@pytest.mark.filterwarnings("ignore:Guards may run slower")
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": "page"}
    for number, code in enumerate(blocks(page, "python")):
        exec(compile(code, f"{name_of(page)}, block {number + 1}", "exec"), names)


def test_every_public_name_has_an_example():
    kinds = ("python", "py")
    code = "\n".join(code for page in PAGES for kind in kinds for code in blocks(page, kind))
    assert not [name for name in sl.__all__ if not re.search(rf"\bsl\.{name}\b", code)]


def test_guides_are_short():
    long = {name_of(page): len(page.read_text("utf-8").splitlines()) for page in [README, *GUIDES]}
    assert not {page: lines for page, lines in long.items() if lines > 150}


def commands():
    """Return every line of a page that calls the suite or make, with its page."""
    for page in PAGES:
        for block in blocks(page, ""):
            lines = block.replace("\\\n", " ").splitlines()
            yield from ((page, line) for line in lines if re.match(r"(sparsebench|make) ", line))


def test_every_command_that_a_page_shows_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    wrong, options = [], {}
    for page, line in commands():
        program, name, *rest = shlex.split(line, comments=True)
        if program == "make":
            known = name in targets
        elif known := name in COMMANDS:
            if name not in options:
                options[name] = {
                    o for p in command(name).params for o in (*p.opts, *p.secondary_opts)
                }
            asked = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
            known = asked <= options[name] | {"--help"}
        else:
            known = name.startswith("--")
        if not known:
            wrong.append(f"{name_of(page)}: {line}")
    assert not wrong


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=name_of)
def test_the_files_that_a_page_shows_are_read(page):
    for text in blocks(page, "toml"):
        content = tomllib.loads(text)
        if "models" in content:
            Models.model_validate(content)
        elif "question" in content:
            Table.model_validate(content)
        elif "implementation" in content.get("grid", {}):
            names = content["grid"]["implementation"]
            content["grid"]["implementation"] = [n for n in names if n != "gather"]  # a guide's own
            Sweep.model_validate(content)


def explained():
    """Return the parts of the messages that the page on troubleshooting explains, but PyTorch's."""
    page = (DOCS / "start" / "troubleshooting.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.+?`)([^|]*)\|", page, re.MULTILINE)
    told = [part for row, after in rows if "PyTorch's" not in after for part in row.split("…")]
    return [part.strip("` ") for part in told]


def test_the_messages_that_are_explained_are_those_of_the_code():
    sources = [*(ROOT / "layers" / "sparselayers").rglob("*.py")]
    sources += (ROOT / "sparsebench").rglob("*.py")
    code = " ".join(path.read_text("utf-8") for path in sources)
    code = re.sub(r'"\s*\n\s*\+?\s*f?"', "", code)  # literals that go on in the next line
    parts = explained()
    assert len(parts) > 40
    assert not [part for part in parts if len(part) > 5 and part not in code]


def warned(path):
    """Yield the constant text of each warning that a file's code gives."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            parts = [n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)]
            if text := "…".join(part for part in parts if isinstance(part, str)):
                yield text


def test_every_warning_is_explained():
    paths = [p for top in ("layers", "sparsebench") for p in (ROOT / top).rglob("*.py")]
    every, parts = [text for p in paths for text in warned(p)], explained()
    assert len(every) > 10
    assert not [text for text in every if not any(len(p) > 9 and p in text for p in parts)]


def names():
    """Return every public name: of the packages, and of the packages that they are made of."""
    public = (
        "analysis",
        "backends",
        "convert",
        "dynamic",
        "functional",
        "prune",
        "structures",
        "topologies",
    )
    yield from (f"sparselayers.{name}" for name in sl.__all__)
    for package in public:
        module = importlib.import_module(f"sparselayers.{package}")
        yield from (f"sparselayers.{package}.{name}" for name in module.__all__)
    yield from (f"sparsebench.{name}" for name in sparsebench.__all__)


def test_every_public_name_is_in_the_reference():
    pages = (DOCS / "reference").glob("*.md")
    given = re.findall(r"^::: (\S+)", "\n".join(p.read_text("utf-8") for p in pages), re.MULTILINE)
    short = {name.rpartition(".")[2] for name in given}
    # A name that stands in two packages is documented once.
    assert not [name for name in names() if name.rpartition(".")[2] not in short]
