"""The trial of the check: what it makes slower, what it keeps, and the counts in docs/ of that."""

import importlib.util
import json
import re
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsebench.regression import yardstick
from sparsebench.regression.builds import Build, Revision
from sparsebench.regression.results import Finding
from sparselayers.backends import native

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "results" / "reference" / "check" / "trial.jsonl"
PRODUCTS = "forward", "backward"
NATIVE = "site-packages/sparselayers/backends/native/__init__.py"


@pytest.fixture
def trial():
    spec = importlib.util.spec_from_file_location("trial", ROOT / "benchmarks" / "trial.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_product_of_the_slower_side_takes_as_much_longer_as_is_said(trial):
    taken = []

    class Fake:
        def forward(self, x, *, bias):
            begin = time.thread_time()
            while time.thread_time() < begin + 0.005:
                pass
            taken.append(time.thread_time() - begin)
            return x + bias

        backward = forward

    rooms = {"few": "Few", "few_bitmaps": "FewBitmaps", "one_block": "OneBlock"}
    short = {room: type(name, (), dict(vars(Fake))) for room, name in rooms.items()}
    named = {room: SimpleNamespace(**{rooms[room]: fake}) for room, fake in short.items()}
    exec(trial.PATCH, {"Native": Fake, "short_choice": SimpleNamespace(**named)})
    backends = Fake, *short.values()
    for product in (getattr(each(), name) for each in backends for name in PRODUCTS):
        begin = time.thread_time()
        assert product(1, bias=2) == 3
        assert time.thread_time() - begin >= 1.3 * taken[-1]
    real = (getattr(getattr(native.short_choice, room), rooms[room]) for room in rooms)
    for backend in (native.Native, *real):
        assert set(PRODUCTS) <= vars(backend).keys()
    assert set(trial.WORKLOADS) <= yardstick.WORKLOADS.keys()


@pytest.mark.parametrize(("kind", "verdict"), [("slower", "slower"), ("same", "same")])
def test_a_line_is_kept_of_every_run(trial, kind, verdict, tmp_path, monkeypatch):
    sources, asked = [], []

    @contextmanager
    def built(root, revision, folder, *, head):
        assert head  # this working tree, on both sides
        (folder / NATIVE).parent.mkdir(parents=True)
        (folder / NATIVE).write_text("class Native: ...\n")
        sources.append(folder / NATIVE)
        yield Build(revision, folder / "python")

    def judged(probe, names):
        asked.append((probe, names, [path.read_text() for path in sources]))
        return [Finding(workload=name, measure="time", verdict=verdict) for name in names]

    monkeypatch.setattr(trial.hostlock, "measuring", nullcontext)
    monkeypatch.setattr(trial.builds, "built", built)
    monkeypatch.setattr(trial.builds, "head_of", lambda root: Revision("abc", "2026-01-01"))
    monkeypatch.setattr(trial.judging, "judged", judged)
    monkeypatch.setattr(trial.turns, "probe_with", lambda pythons, folder, seconds: pythons)
    monkeypatch.setattr(trial, "busy_core", nullcontext)
    out = tmp_path / "trial.jsonl"
    monkeypatch.setattr(sys, "argv", ["trial.py", kind, "2", "--out", str(out)])
    trial.main()
    runs = [json.loads(line) for line in out.read_text().splitlines()]
    committed = json.loads(RECORD.read_text().splitlines()[0])
    assert [run.keys() for run in runs] == [committed.keys()] * 2
    assert [(run["kind"], run["commit"], run["failed"]) for run in runs] == [
        (kind, "abc", kind == "slower")
    ] * 2
    for probe, names, (base, head) in asked:
        assert probe.keys() == {"base", "head"}
        assert names == trial.WORKLOADS
        assert base == "class Native: ...\n"
        assert head == base + (trial.PATCH if kind == "slower" else "")


def test_the_docs_count_what_the_record_holds():
    runs = [json.loads(line) for line in RECORD.read_text().splitlines()]
    text = (ROOT / "docs" / "guides" / "performance-check.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (slower by 30%|the same) \| (.*) \|$", text, re.MULTILINE))
    assert rows == {
        name: _row([run for run in runs if run["kind"] == kind])
        for name, kind in (("slower by 30%", "slower"), ("the same", "same"))
    }


def _row(runs):
    timed = [[f for f in run["findings"] if f["measure"] == "time"] for run in runs]
    slower = [sum(f["verdict"] == "slower" for f in found) for found in timed]
    ratios = [f["ratio"]["value"] for found in timed for f in found]
    seconds = [run["wall_s"] for run in runs]
    return " | ".join(
        (
            f"{sum(run['failed'] for run in runs)} of {len(runs)}",
            f"{sum(slower)} of {sum(map(len, timed))}",
            f"{min(ratios):.2f}–{max(ratios):.2f}",
            f"{min(seconds):.0f}–{max(seconds):.0f}",
        )
    )
