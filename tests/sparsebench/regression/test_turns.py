"""A process of a side, asked: what it has to answer, and whose library it measures."""

import json
import sys
from importlib.machinery import PathFinder

import pytest

from sparsebench.regression import turns, yardstick
from sparsebench.regression.builds import BuildError


def test_a_side_that_runs_no_workload_is_no_pass(tmp_path):
    python = tmp_path / "python"
    answer = {"times": {}, "memory": {}, "failed": {"a": "no layers", "b": "no layers"}}
    python.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    python.chmod(0o755)
    probe = turns.probe_with({"base": python, "head": python}, tmp_path, 0.1)
    with pytest.raises(BuildError, match="base is built, and runs none of 2 workloads: a: no"):
        probe("base", ["a", "b"])
    assert probe("base", ["a"]) == answer  # one that the base does not have yet


def test_kernels_that_an_editable_installation_leaves_are_no_library(tmp_path, monkeypatch):
    (tmp_path / "sparselayers").mkdir()
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "sparselayers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [PathFinder])
    assert yardstick._library().__name__ == "layers"
    del sys.modules["layers"]
