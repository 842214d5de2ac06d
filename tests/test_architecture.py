"""The house is what docs/design draws: arrows run down, and no import hides in a function."""

import ast
import re
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
LAYERS = ROOT / "layers"
FILES = [*(ROOT / "sparsebench").rglob("*.py"), *(LAYERS / "sparselayers").rglob("*.py")]
OURS = ("sparsebench", "sparselayers")
# What a late import may spare those who do not need it, in a comment on its line.
SPARED = re.compile(r"#.*\b(pandas|matplotlib|torch|torchvision|distributed)\b")


def test_the_arrows_between_packages_run_down(capfd):
    found = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True)
    assert found == 0, capfd.readouterr().out


def inside_functions(source: str):
    """Yield the lines within functions that import a module of the project, as (number, text)."""
    lines = source.splitlines()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = ["sparsebench"] if node.level else [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if any(name.split(".")[0] in OURS for name in names):
                yield node.lineno, lines[node.lineno - 1]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("from sparsebench import views", True),
        ("import sparselayers.prune", True),
        ("from .views import page", True),
        ("import torch", False),
        ("from sparseprop import modules", False),
    ],
)
def test_an_import_in_a_function_is_seen(statement, found):
    assert bool(list(inside_functions(f"def f():\n    if True:\n        {statement}"))) == found
    assert not list(inside_functions(statement))


def late():
    """Return every import of the project that stands in a function: module, line number, line."""
    found = []
    for file in FILES:
        place = file.relative_to(LAYERS if file.is_relative_to(LAYERS) else ROOT).with_suffix("")
        module = ".".join(part for part in place.parts if part != "__init__")
        found += [(module, *line) for line in inside_functions(file.read_text("utf-8"))]
    return found


def test_an_import_in_a_function_says_which_slow_library_it_spares():
    assert not [line for line in late() if not SPARED.search(line[-1])]


def test_an_import_in_a_function_closes_no_circle():
    graph = grimp.build_graph(*OURS, exclude_type_checking_imports=True, cache_dir=None)
    circles = []
    for importer, number, _ in late():
        if importer == "sparsebench":  # the façade, below which everything stands
            continue
        for imported in graph.find_modules_directly_imported_by(importer):
            details = graph.get_import_details(importer=importer, imported=imported)
            if number in {detail["line_number"] for detail in details}:
                circles += [(importer, imported)] * graph.chain_exists(imported, importer)
    assert not circles
