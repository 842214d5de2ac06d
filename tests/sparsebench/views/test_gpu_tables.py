"""Tables and metrics of a GPU's records, whose ratios are known."""

import pytest

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import points
from sparsebench.views import tables
from tests.readme_tables import README, REFERENCE, ROOT, points_of
from tests.sparsebench.factory import record

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
# Seconds with a cold cache; ours takes ten times its share of the dense one's.
COLD = {"dense": 8e-3, "dense_tf32": 2e-3, "dense_bf16": 5e-4, "torch_csr": 1.6e-2}


def on_gpu(name, sparsity, **changes):
    seconds = COLD.get(name, 8e-2 * (1 - sparsity))
    hot = [seconds / (4 if name == "ours" else 2)] * 9
    return record(
        seconds,
        implementation=name,
        sparsity=sparsity,
        device="cuda",
        hot_samples=hot,
        wall_samples=[seconds + 1e-3] * 9,
        tuning_s=0.5 if name == "ours" else 0.0,
        **changes,
    )


@pytest.fixture(scope="module")
def every():
    return points(on_gpu(n, s) for s in SPARSITIES for n in (*COLD, "ours"))


@pytest.fixture(scope="module")
def made(every):
    return {table.name: table for table in tables.tables(every)}


def test_cold_hot_and_wall_are_metrics(every):
    ours = next(
        p for p in every if p.case.implementation == "ours" and p.case.sparsity == SPARSITIES[2]
    )
    found = {name: METRICS[name].of(ours) for name in METRICS}
    assert found["time"].value == pytest.approx(8e-3)
    assert found["hot_time"].value == pytest.approx(2e-3)
    assert found["wall_time"].value == pytest.approx(9e-3)
    assert found["speedup"].value == pytest.approx(1.0)
    assert found["hot_speedup"].value == pytest.approx(2.0)


def test_what_a_user_waits_for_has_launches_in_it(made):
    row = made["end-to-end"].numbers.iloc[0]
    assert row["90%"] == pytest.approx(1.0)
    assert row["99%"] == pytest.approx(9e-3 / 1.8e-3)


def test_the_page_says_how_many_layers_gain_from_end_to_end():
    shown = points_of(REFERENCE / "nvidia-h200" / "gpu" / "records.jsonl", "phase=forward_backward")
    numbers = tables.end_to_end(shown).numbers
    ratios = [r for name in ("90%", "95%", "99%") for r in numbers[name].dropna()]
    slower = sum(ratio < 1 for ratio in ratios)
    for page in (README, ROOT / "docs" / "results" / "gpu.md"):
        assert f"{slower} of the {len(ratios)} layers" in page.read_text(encoding="utf-8")


def test_the_table_of_gpus_has_both_caches(made):
    numbers = made["gpu"].numbers.query("implementation == 'ours' and sparsity == 0.98").iloc[0]
    assert numbers["cold [s]"] == pytest.approx(1.6e-3)
    assert numbers["hot [s]"] == pytest.approx(4e-4)
    assert numbers["over dense, cold"] == pytest.approx(5.0)
    assert numbers["over dense, hot"] == pytest.approx(10.0)
    assert numbers["over torch_csr, cold"] == pytest.approx(10.0)
    assert numbers["over torch_csr, hot"] == pytest.approx(20.0)
    assert numbers["tuning [s]"] == 0.5
    shown = made["gpu"].text.query("implementation == 'ours' and sparsity == '98%'").iloc[0]
    assert (shown["cold"], shown["hot"], shown["end to end"]) == ("1.60 ms", "400 µs", "2.60 ms")
    assert shown["over dense, cold"] == "5.0×"
    assert shown["over dense, end to end"] == "3.5×"
    columns = list(made["gpu"].text.columns)
    assert columns.index("end to end") < columns.index("cold") < columns.index("hot")
    assert columns.index("over dense, end to end") < columns.index("over dense, cold")


def test_each_dense_layer_has_its_crossover(made):
    numbers = made["tensor-cores"].numbers.set_index("dense layer").crossover
    assert numbers["dense_tf32"] == pytest.approx(0.975)
    assert numbers["dense_bf16"] == float("inf")
    text = made["tensor-cores"].text.set_index("dense layer")["ours is faster from"]
    assert text["dense_bf16"] == "never (≤ 99%)"


def test_graphs_stand_beside_what_is_launched_kernel_by_kernel():
    walls = {"dense": 4e-4, "ours": 8e-4, "dense_graph": 2e-4, "ours_graph": 5e-5}
    found = points(
        record(1e-5, implementation=n, device="cuda", hot_samples=[1e-5] * 9, wall_samples=[w] * 9)
        for n, w in walls.items()
    )
    (table,) = (t for t in tables.tables(found) if t.name == "graphs")
    (numbers,) = (row for _, row in table.numbers.iterrows())
    assert {name: numbers[f"{name} [s]"] for name in walls} == pytest.approx(walls)
    assert numbers["over dense"] == pytest.approx(0.5)
    assert numbers["over dense in graphs"] == pytest.approx(4.0)
    shown = table.text.iloc[0]
    assert (shown["ours"], shown["ours_graph"]) == ("800 µs", "50.0 µs")
    assert (shown["over dense"], shown["over dense in graphs"]) == ("0.50×", "4.0×")


def test_without_graphs_there_is_no_table_of_them(made):
    assert "graphs" not in made


def test_a_cpu_has_none_of_it():
    found = points([record(1.0, implementation=name) for name in ("dense", "ours")])
    assert METRICS["hot_time"].of(found[0]) is None
    assert METRICS["wall_time"].of(found[0]) is None
    assert not {"gpu", "tensor-cores"} & {table.name for table in tables.tables(found)}


def test_a_failed_case_has_no_row(made):
    failed = points([on_gpu("dense", 0.9), record(None, status="oom", device="cuda")])
    (table,) = (t for t in tables.tables(failed) if t.name == "gpu")
    assert list(table.text.implementation) == ["dense"]
