"""Which way computes a product, by what the ways cost on a machine."""

import itertools
import json
import math
import re
from pathlib import Path

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS, native
from sparselayers.backends.native import amx, calibration, library
from sparselayers.backends.native.calibration import Calibration, Costs, Point
from sparselayers.backends.native.choice import choose, choose_laid_out, estimate
from sparselayers.backends.native.probe import PRODUCTS
from sparselayers.cores import cores_left
from sparselayers.prune.magnitude import prune_to_sparsity
from tests import fresh

pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)


def costs(**ways):
    """Costs of ways: what a place and a connection take, at batches of 1 and 101, in seconds."""
    found = {
        way: {
            product: [Point(1, place, each), Point(101, 101 * place, 101 * each)]
            for product in PRODUCTS
        }
        for way, (place, each) in ways.items()
    }
    return Costs(found, "made up", 0.0)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine one of the given costs."""

    def of(**ways):
        monkeypatch.setattr(calibration, "costs", lambda dtype: costs(**ways))

    return of


def test_an_estimate_is_linear_in_places_connections_and_batch():
    points = [Point(2, 1.0, 10.0), Point(4, 3.0, 30.0)]
    assert estimate(points, 2, 100, 7) == 170
    assert estimate(points, 3, 100, 7) == (170 + 510) / 2
    assert estimate(points, 4, 100, 7) == 510
    assert estimate(points, 8, 100, 7) == 2 * 510
    assert estimate(points, 1, 100, 7) == 170  # no less than the least that was measured
    assert estimate([Point(2, 1.0, 10.0, call=5.0)], 2, 100, 7) == 175


def test_the_least_estimate_is_taken(machine):
    machine(lanes=(0.0, 3.0), bitmaps=(1.0, 0.0), panels=(2.0, 0.0))
    half = sl.random((20, 30), sparsity=0.5)
    third = sl.random((20, 30), sparsity=0.7)
    assert choose("y", 1, half, torch.float32).way == "bitmaps"
    assert choose("y", 1, third, torch.float32).way == "lanes"
    seconds = choose("y", 51, half, torch.float32).seconds
    assert seconds == {("lanes",): 51 * 900, ("bitmaps",): 51 * 600, ("panels",): 51 * 1200}


def test_what_lanes_do_beside_connections_grows_with_in_and_outputs(machine):
    """By places large layers of few connections were estimated at three times what they take."""
    machine(lanes=(1.0, 0.0), bitmaps=(0.9, 0.0))
    small, large = ((256, 256), (2048, 2048))
    # As many places as in the layer that is measured, 512 × 1024, for as many in- and outputs.
    passed = 2 * 2048 * 512 * 1024 / 1536
    for shape, seconds, way in ((small, 256**2, "bitmaps"), (large, passed, "lanes")):
        choice = choose("y", 1, sl.random(shape, sparsity=0.5), torch.float32)
        assert choice.seconds["lanes",] == pytest.approx(seconds)
        assert choice.way == way


@pytest.mark.parametrize(("there", "way"), [(True, "amx"), (False, "lanes")])
def test_few_connections_in_bfloat16_may_go_by_amx(machine, monkeypatch, there, way):
    """512², 97%, 512 samples: by the lanes, which were taken unasked, longer than nn.Linear."""
    machine(lanes=(1.0, 1.0), amx=(0.5, 0.0), bitmaps=(0.1, 0.0), panels=(0.1, 0.0))
    monkeypatch.setattr(amx, "usable", lambda: there)
    few = sl.random((512, 512), sparsity=0.97)
    assert choose("y", 512, few, torch.bfloat16).way == way
    assert choose("y", 1, few, torch.bfloat16).way == "lanes"
    assert choose("y", 512, few, torch.float32).way == "lanes"


def test_what_lies_feature_by_feature_is_not_turned_round_for_little(monkeypatch):
    """Small layers took six times as long by bitmaps as by lanes: the batch was turned."""
    layer = sl.random((64, 256), sparsity=0.5)
    turned = 0.8e-9 * 128 * (64 + 256)
    for more, way in ((1.9 * turned, "lanes"), (2.1 * turned, "bitmaps")):
        lanes, bitmaps = (2e-4 + more) / 64 / 256, 2e-4 / 64 / 256
        found = costs(lanes=(lanes, 0.0), bitmaps=(bitmaps, 0.0))
        for points in (points for products in found.found.values() for points in products.values()):
            points[:] = [Point(128, points[0].place, 0.0)]
        monkeypatch.setattr(calibration, "costs", lambda dtype, found=found: found)
        # One of which nothing is kept.
        connectivity = sl.Connectivity(layer.shape, layer.row_ptr, layer.col)
        assert choose("y", 128, connectivity, torch.float32).way == "bitmaps"
        assert choose_laid_out(128, connectivity, torch.float32) == way
    few = sl.random((64, 256), sparsity=0.99)
    assert choose_laid_out(128, few, torch.float32) == "lanes"  # without an estimate


def test_gradients_may_take_ways_of_their_own(monkeypatch):
    mixed = costs(lanes=(4.0, 0.0), bitmaps=(4.0, 0.0))
    mixed.found["lanes"]["dx"] = [Point(1, 1.0, 0.0)]
    mixed.found["bitmaps"]["dweights"] = [Point(1, 1.0, 0.0)]
    monkeypatch.setattr(calibration, "costs", lambda dtype: mixed)
    half = sl.random((20, 30), sparsity=0.5)
    assert choose("backward", 1, half, torch.float32).ways == ("lanes", "bitmaps")
    native, oracle = BACKENDS["native"], BACKENDS["reference"]
    x, dy, values = torch.randn(3, 30), torch.randn(3, 20), torch.randn(half.nnz)
    needs = (True, True, True)
    for found, expected in zip(
        native.backward(dy, x, values, half, needs=needs),
        oracle.backward(dy, x, values, half, needs=needs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("bitmaps", "way"), [(0.9, "lanes"), (0.8, "bitmaps")])
def test_another_way_than_the_forward_pass_has_to_gain_clearly(monkeypatch, bitmaps, way):
    """Its x lies otherwise: lanes and then bitmaps took 1.5 times as long as lanes alone."""
    found = costs(lanes=(1.0, 0.0), bitmaps=(1.1, 0.0))
    for product in ("dx", "dweights", "backward"):
        found.found["bitmaps"][product] = [Point(1, bitmaps, 0.0)]
    monkeypatch.setattr(calibration, "costs", lambda dtype: found)
    half = sl.random((20, 30), sparsity=0.5)
    assert choose("y", 1, half, torch.float32).way == "lanes"
    choice = choose("backward", 1, half, torch.float32)
    assert choice.ways == (way, way)
    assert choice.seconds["bitmaps", "bitmaps"] == pytest.approx(bitmaps * 600)  # as measured
    told = "as the forward pass, for others gain less than 15%" if way == "lanes" else "the least"
    assert choice.why.startswith(told)


def test_two_ways_for_two_gradients_have_to_gain_clearly(monkeypatch):
    mixed = costs(lanes=(1.0, 0.0), bitmaps=(1.1, 0.0))
    mixed.found["lanes"]["backward"] = [Point(1, 2.0, 0.0)]
    mixed.found["bitmaps"]["backward"] = [Point(1, 2.2, 0.0)]
    mixed.found["bitmaps"]["dx"] = [Point(1, 0.8, 0.0)]
    monkeypatch.setattr(calibration, "costs", lambda dtype: mixed)
    half = sl.random((20, 30), sparsity=0.5)
    assert choose("backward", 1, half, torch.float32).ways == ("lanes", "lanes")


@pytest.mark.parametrize(
    ("connectivity", "dtype", "batch", "why"),
    [
        (sl.random((20, 30), sparsity=0.9), torch.float32, 1, "few connections, 10% of all places"),
        (sl.random((20, 30), sparsity=0.5), torch.float64, 1, "the only way for float64"),
        (sl.random((20, 30), sparsity=0.5), torch.float16, 1, "the only way for float16"),
        (
            sl.random((1, 1 << 16), sparsity=0.5),
            torch.float32,
            1,
            "the only way for layers as wide",
        ),
        (sl.random((20, 30), sparsity=0.5), torch.float32, 0, "nothing to compute"),
    ],
)
def test_where_nothing_is_measured(monkeypatch, connectivity, dtype, batch, why):
    monkeypatch.setattr(calibration, "costs", None)
    for product in PRODUCTS:
        choice = choose(product, batch, connectivity, dtype)
        assert (choice.way, choice.why, choice.seconds) == ("lanes", why, {})


def test_a_plan_says_which_and_why(machine):
    machine(lanes=(0.0, 3e-6), bitmaps=(1e-6, 0.0))
    layer = sl.SparseLinear(30, 20, sparsity=0.5)
    plan = layer.plan(1)
    assert (plan.backend, plan.batch) == ("native", 1)
    assert plan.forward.ways == ("bitmaps",)
    assert str(plan.forward) == (
        "bitmaps: the least estimate by costs made up (bitmaps 0.6 ms, lanes 0.9 ms)"
    )
    assert str(plan).splitlines()[0] == "batch 1 on backend native"
    with pytest.raises(ValueError, match="0 rows or more, got -1"):
        layer.plan(-1)


def test_a_way_can_be_asked_for(machine):
    machine(lanes=(0.0, 3.0), bitmaps=(1.0, 0.0))
    layer = sl.SparseLinear(30, 20, sparsity=0.5, backend="lanes")
    assert layer.plan(1).forward.ways == ("lanes",)
    assert layer.plan(1).forward.why == "the only way of this backend"


def test_pruning_changes_the_way(machine):
    machine(lanes=(0.0, 3.0), bitmaps=(1.0, 0.0))
    layer = sl.SparseLinear(30, 20, sparsity=0.5)
    assert layer.plan(8).forward.way == "bitmaps"
    prune_to_sparsity(layer, 0.8)
    assert layer.plan(8).forward.way == "lanes"


def test_compiled_and_exported_programs_take_the_same_way(machine):
    machine(lanes=(0.0, 3.0), bitmaps=(1.0, 0.0))
    layer, x = sl.SparseLinear(70, 50, sparsity=0.5), torch.randn(20, 70)
    few = x[:4]  # which is one call of what eager code keeps (few_bitmaps.py)
    torch.testing.assert_close(
        torch.export.export(layer, (few,)).module()(few), layer(few), rtol=0, atol=0
    )
    seen = []
    bitmaps = calibration.WAYS["bitmaps"]
    original = bitmaps.forward

    def forward(*args):
        seen.append(1)
        return original(*args)

    bitmaps.forward = forward
    try:
        eager = layer(x)
        exported = torch.export.export(layer, (x,)).module()(x)
    finally:
        del bitmaps.forward
    assert len(seen) >= 2
    torch.testing.assert_close(exported, eager, rtol=0, atol=0)


def test_measured_once_and_kept(tmp_path, monkeypatch):
    calls = []

    def measure(dtype):
        calls.append(dtype)
        return costs(lanes=(1.0, 2.0))

    monkeypatch.setattr(calibration, "measure", measure)
    file = tmp_path / "cache" / "costs.json"
    first = Calibration(file).costs(torch.float32)
    again = Calibration(file).costs(torch.float32)
    assert calls == [torch.float32]
    assert again.found == first.found
    assert list(file.parent.iterdir()) == [file]  # nothing half-written stays
    Calibration(file).costs(torch.bfloat16)
    assert calls == [torch.float32, torch.bfloat16]
    assert len(json.loads(file.read_text())) == 2


def test_what_was_measured_beside_other_work_is_not_kept(tmp_path, monkeypatch):
    """There lanes took twice as long as bitmaps that are half as fast, for ever after."""
    left = itertools.count(step=10**6)
    monkeypatch.setattr(calibration, "cores_left", lambda: next(left))
    monkeypatch.setattr(calibration, "measure", lambda dtype: costs(lanes=(1.0, 2.0)))
    file = tmp_path / "costs.json"
    busy = Calibration(file)
    found = busy.costs(torch.float32)
    assert found.found == calibration._elsewhere(torch.float32).found
    assert found.source.endswith(": here other work had the cores")
    assert busy.costs(torch.float32) is found
    assert (busy.measured, file.exists()) == (2, False)
    monkeypatch.setattr(calibration, "cores_left", lambda: 0)
    assert Calibration(file).costs(torch.float32).ways == ("lanes",)
    assert file.exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="read from Linux' own count")
def test_how_often_cores_are_left_is_what_the_system_says():
    def told(task):
        line = re.search(r"nonvoluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text())
        return int(line[1])

    listed = sum(map(told, Path("/proc/self/task").iterdir()))
    assert listed <= cores_left() < listed + 10**6


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"a": 1}', '{"a": {"found": 3, "seconds": 1}}']
)
def test_a_file_that_cannot_be_read_is_none(tmp_path, monkeypatch, content):
    monkeypatch.setattr(calibration, "measure", lambda dtype: costs(lanes=(1.0, 2.0)))
    file = tmp_path / "costs.json"
    file.write_text(content)
    assert Calibration(file).costs(torch.float32).ways == ("lanes",)
    assert len(json.loads(file.read_text())) == 1


def test_a_place_that_cannot_be_written_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "measure", lambda dtype: costs(lanes=(1.0, 2.0)))
    (tmp_path / "file").write_text("")
    kept = Calibration(tmp_path / "file" / "costs.json")
    assert kept.costs(torch.float32) is kept.costs(torch.float32)


def test_an_unknown_wish_is_named(monkeypatch):
    monkeypatch.setenv(calibration.VARIABLE, "never")
    with pytest.raises(ValueError, match="SPARSEBENCH_CALIBRATION=never: choose on or off"):
        calibration.costs(torch.float32)


class Ways:
    """Ways that take as long as is said of a batch and connections, by a clock of their own."""

    def __init__(self, monkeypatch, **seconds):
        self.now, self.tried = 0.0, {name: [] for name in seconds}
        clock = type("Clock", (), {"perf_counter": staticmethod(lambda: self.now)})
        monkeypatch.setattr(calibration, "time", clock)
        monkeypatch.setattr(
            calibration, "WAYS", {name: self._way(name, seconds[name]) for name in seconds}
        )

    def _way(self, name, seconds):
        def forward(way, x, values, bias, connectivity):
            self.now += seconds(x.shape[0], connectivity)
            self.tried[name].append(x.shape[0])

        def backward(way, dy, x, values, connectivity, needs):
            for _ in range(sum(needs)):  # no pass for both
                forward(way, dy, values, None, connectivity)

        methods = {"forward": forward, "backward": backward, "arrange": lambda way, x, _: x}
        return type(name, (), methods | {"name": name})()


def test_measuring_tells_places_and_calls_from_connections(monkeypatch):
    """A slow call made places slow: eight times as much in a layer eight times as large."""
    Ways(
        monkeypatch,
        lanes=lambda b, connectivity: 3e-5 + 1e-8 * b * connectivity.nnz,
        bitmaps=lambda b, connectivity: 5e-6 + 4e-9 * b * math.prod(connectivity.shape),
    )
    found = calibration.measure(torch.float32)
    for product in PRODUCTS:
        times = 2 if product == "backward" else 1
        for point in found.points("lanes", product):
            assert point.connection == pytest.approx(times * 1e-8 * point.batch)
            assert point.place == pytest.approx(0, abs=1e-15)
            assert point.call == pytest.approx(times * 3e-5)
        for point in found.points("bitmaps", product):
            assert point.place == pytest.approx(times * 4e-9 * point.batch)
            assert point.connection == pytest.approx(0, abs=1e-15)
            assert point.call == pytest.approx(times * 5e-6)


def test_what_a_way_has_to_fetch_after_another_is_no_part_of_its_call(monkeypatch):
    """In turns small layers' lanes were held for five times as slow as they are."""
    latest = [None]

    def takes(name, warm, cold):
        def seconds(batch, connectivity):
            before, latest[0] = latest[0], (name, connectivity)
            return warm if before == (name, connectivity) else cold

        return seconds

    Ways(monkeypatch, lanes=takes("lanes", 1e-5, 6e-5), bitmaps=takes("bitmaps", 1.2e-5, 2e-5))
    found = calibration.measure(torch.float32)
    assert [p.call for p in found.points("lanes", "y")] == pytest.approx(5 * [1e-5])
    assert [p.call for p in found.points("bitmaps", "y")] == pytest.approx(5 * [1.2e-5])


@pytest.mark.parametrize(("worth", "alone"), [(0.1e6, 0.0), (0.5e6, 0.448e6), (3e6, 1.7e6)])
def test_small_products_are_left_to_one_thread_where_others_come_late(
    threads, monkeypatch, worth, alone
):
    """Another thread saves half of the time, and adds what half of some work takes.

    It is looked for at 0.16, 0.32, 0.63 and 1.3 million, and is then above the last at which all
    threads take 1.2 times as long.
    """
    threads(2)

    def seconds(batch, connectivity):
        work = library.work_of_product(batch, connectivity.nnz)
        one = library.threads_of_product(batch, connectivity.nnz, torch.float32) == 1
        return work if one else (work + worth) / 2

    monkeypatch.setattr(library, "_alone", {})
    Ways(monkeypatch, lanes=seconds)
    found = calibration.measure(torch.float32)
    assert found.alone == pytest.approx(alone, rel=0.05)
    kept = Calibration()
    monkeypatch.setattr(kept, "stored", lambda: {calibration._key(torch.float32): found})
    kept.costs(torch.float32)
    nnz = max(int(alone), 2 * library.WORTH_A_THREAD) // 16
    assert library.threads_of_product(16, int(0.9 * nnz), torch.float32) == 1
    assert library.threads_of_product(16, int(1.1 * nnz), torch.float32) == 2
    both = library.threads_of_product(16, int(0.9 * nnz), torch.float32, products=2)
    assert both == (2 if alone else 1)  # without it, what a thread is worth counts, as it did
    assert library.threads_of_product(4, 10**5, torch.float32) == 2  # a few rows: little to fetch
    own = library.threads_of_product(128, int(0.9 * nnz), torch.float32)
    assert own == 2  # each thread has rows of its own
    work = 128, int(0.9 * alone) // 44, torch.float32
    assert library.threads_of_product(*work, cut=False) == 1


def test_a_hopeless_way_is_not_tried_to_the_end(monkeypatch):
    ways = Ways(
        monkeypatch,
        lanes=lambda b, connectivity: 1e-6 * b,
        bitmaps=lambda b, connectivity: 5e-6 * b,
        panels=lambda b, connectivity: 7e-6 * b,
    )
    assert calibration.measure(torch.float32).ways == ("lanes", "bitmaps")
    assert max(ways.tried["bitmaps"]) == 512
    assert max(ways.tried["panels"]) == 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fixed_costs_are_whole(dtype):
    found = calibration._elsewhere(getattr(torch, dtype))
    assert {"lanes", "bitmaps"} <= set(found.ways) <= set(calibration.WAYS)
    for way in found.ways:
        for product in PRODUCTS:
            batches = [point.batch for point in found.points(way, product)]
            assert batches == sorted(batches) == list(calibration.batches(way))


def test_a_fresh_process_measures_and_the_next_does_not(tmp_path):
    """Really: with a cache of its own, and no clock but the number of costs that are kept."""
    common = (
        "import torch, sparselayers as sl\n"
        "from sparselayers.backends.native import calibration\n"
        "calibration._LEFT_ANYWAY = 10**9\n"  # whatever else this machine does
    )
    script = (
        "layer = sl.SparseLinear(64, 64, sparsity=0.5)\n"
        "layer(torch.ones(1, 64))\n"
        "print(len(calibration.stored()), calibration._CALIBRATION.measured)\n"
    )
    own = {"XDG_CACHE_HOME": str(tmp_path), calibration.VARIABLE: "on"}
    first, second = fresh.each(common, [script + fresh.OVER] * 2, **own)
    assert (first.status, first.out.split()) == (0, ["1", "1"]), first.err
    assert (second.status, second.out.split()) == (0, ["1", "0"]), second.err


def test_settling_measures_before_a_layer_does(monkeypatch):
    asked = []
    monkeypatch.setattr(calibration, "costs", asked.append)
    for dtype in torch.float32, torch.bfloat16, torch.float64, torch.float16:
        native.settle(dtype)
    assert asked == [torch.float32, torch.bfloat16]
