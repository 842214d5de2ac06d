"""What a time belongs to changes with what it depends on, and with nothing else."""

import importlib
from dataclasses import replace

from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.dense import Dense
from sparsebench.measuring import machine, software
from sparsebench.measuring.description import fingerprint
from tests.sparsebench.cases.test_case import CASE


def test_everything_that_matters_is_named():
    told = fingerprint(replace(CASE, implementation="ours"))["software"]
    assert told.keys() == {"torch", "allocator", "threads", "method", "implementation"}
    assert all(told.values())
    assert machine.layers_backend()["backend"] in told["implementation"]


def test_what_implementations_share_is_the_same_for_all():
    every = [fingerprint(replace(CASE, implementation=n))["software"] for n in IMPLEMENTATIONS]
    for name in ("torch", "allocator", "threads", "method"):
        assert len({told[name] for told in every}) == 1
    assert len({told["implementation"] for told in every}) > 5


def test_a_library_counts_with_its_release(monkeypatch):
    class Peer(Dense):
        name = "peer"
        modules = ("numpy.linalg", "nowhere")

    monkeypatch.setitem(IMPLEMENTATIONS, "peer", Peer())
    told = fingerprint(replace(CASE, implementation="peer"))["software"]["implementation"]
    assert told.startswith(f"numpy {software.metadata.version('numpy')}, nowhere of unknown")


def test_how_layers_of_a_turn_are_made_counts_where_caches_are_cold():
    warm, cold = (
        fingerprint(replace(CASE, implementation="ours", cache=cache))["software"]
        for cache in ("warm", "cold")
    )
    assert cold == warm | {"implementation": f"{warm['implementation']}, cold {software.COLD}"}


def test_all_of_a_competitors_own_package_counts(monkeypatch, tmp_path):
    (tmp_path / "brought").mkdir()
    for name in ("__init__.py", "kernels.so"):
        (tmp_path / "brought" / name).write_text("first")
    (tmp_path / "brought" / "__init__.py").write_text(
        "from sparsebench.implementations.dense import Dense\n\n\nclass Peer(Dense):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(IMPLEMENTATIONS, "peer", importlib.import_module("brought").Peer())
    monkeypatch.setattr(type(IMPLEMENTATIONS), "owner", lambda self, name: "brought 1.0")

    def own():
        software._own.cache_clear()
        return software._own("peer")

    try:
        first = own()
        assert first.startswith("brought 1.0, ")
        assert own() == first
        (tmp_path / "brought" / "kernels.so").write_text("second")
        assert (second := own()) != first
        # An editable installation has it elsewhere, and is the same software.
        (tmp_path / "compiled").mkdir()
        (tmp_path / "brought" / "kernels.so").rename(tmp_path / "compiled" / "kernels.so")
        package = importlib.import_module("brought")
        monkeypatch.setattr(package, "__path__", [str(tmp_path / "compiled"), *package.__path__])
        assert own() == second
        (tmp_path / "compiled" / "kernels.so").write_text("third")
        assert own() not in (first, second)
    finally:
        software._own.cache_clear()


def test_how_threads_wait_counts(monkeypatch):
    def threads(**environment):
        for name in software._THREADS:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return software.shared({"torch": {"version": "1"}})

    assert threads()["threads"] == "default"
    assert threads(OMP_WAIT_POLICY="passive")["threads"] == "OMP_WAIT_POLICY=passive"
    assert "libtcmalloc.so preloaded" in threads(LD_PRELOAD="/x/libtcmalloc.so")["allocator"]


def test_a_digest_changes_with_names_and_contents(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("1")
    second.write_text("1")
    digests = {software.digest([first]), software.digest([second])}
    second.write_text("2")
    assert len(digests | {software.digest([second])}) == 3
