"""Which tile is taken, tried on a stand-in for a GPU; and how rows are shared out."""

import sys

import pytest
import torch

from sparselayers.backends.triton_kernels.partition import share_out
from sparselayers.backends.triton_kernels.tiles import Tile, candidates, power_of_two
from sparselayers.backends.triton_kernels.tuning import Choice, Tuner
from tests.fake_gpu import FakeGpu

TILES = (Tile(1, 8, 64, 4), Tile(1, 16, 64, 4), Tile(2, 8, 32, 2))


class OutOfResources(Exception):
    pass


class Fake(FakeGpu):
    """A GPU on which a call takes as long as the tile it ran last says."""

    def __init__(self, of_tiles, *, memory_to_flush=True):
        super().__init__()
        self.of_tiles, self.ran, self.memory_to_flush = of_tiles, [], memory_to_flush

    def run(self, tile):
        self.ran.append(tile)
        if self.of_tiles[tile] is None:
            raise OutOfResources("out of resource: shared memory")

    def time_of(self, call):
        if not self.memory_to_flush:
            raise torch.OutOfMemoryError("CUDA out of memory")
        call()
        return self.of_tiles[self.ran[-1]]

    def tuner(self, folder):
        return Tuner(folder / "tiles", self.time_of)


def test_the_fastest_is_taken_and_remembered(tmp_path):
    gpu = Fake(dict(zip(TILES, (3.0, None, 2.0), strict=True)))
    tuner = gpu.tuner(tmp_path)
    assert tuner.choose("key", TILES, gpu.run, gpu) == TILES[2]
    assert tuner.seconds > 0
    spent, tries = tuner.seconds, len(gpu.ran)
    assert tuner.choose("key", TILES, gpu.run, gpu) == TILES[2]
    another = gpu.tuner(tmp_path)  # in another process
    assert another.choose("key", TILES, gpu.run, gpu) == TILES[2]
    assert (tuner.seconds, another.seconds, len(gpu.ran)) == (spent, 0.0, tries)
    (choice,) = another.stored().values()
    assert choice == Choice(TILES[2], round(spent, 3))


def test_what_another_process_found_meanwhile_is_kept(tmp_path):
    gpu = Fake(dict.fromkeys(TILES, 1.0))
    first, second = gpu.tuner(tmp_path), gpu.tuner(tmp_path)
    for tuner in (first, second):  # both have read the file
        tuner.choose("seen", TILES, gpu.run, gpu)
    first.choose("a", TILES, gpu.run, gpu)
    second.choose("b", TILES, gpu.run, gpu)
    assert len(Tuner(tmp_path / "tiles").stored()) == 3


def test_without_memory_to_clear_the_cache_another_process_tries_again(tmp_path):
    gpu = Fake(dict(zip(TILES, (3.0, 2.0, 1.0), strict=True)), memory_to_flush=False)
    tuner = gpu.tuner(tmp_path)
    assert tuner.choose("key", TILES, gpu.run, gpu) == TILES[0]
    assert tuner.stored() == {}
    gpu.memory_to_flush = True
    assert gpu.tuner(tmp_path).choose("key", TILES, gpu.run, gpu) == TILES[2]


def test_times_are_medians_with_a_cold_cache_as_triton_takes_them(tmp_path, monkeypatch):
    testing = pytest.importorskip("triton.testing")
    asked = []

    def do_bench(call, *, return_mode, **budget):
        asked.append((return_mode, set(budget)))
        return call()

    monkeypatch.setattr(testing, "do_bench", do_bench)
    times = dict(zip(TILES, (3.0, 2.0, 4.0), strict=True))
    tile = Tuner(tmp_path / "tiles").choose("key", TILES, times.__getitem__, Fake({}))
    assert tile == TILES[1]
    assert asked == [("median", {"warmup", "rep"})] * 3


@pytest.mark.parametrize("text", ["{]", "[1]", '{"a": 3}', '{"a": [[1, 2], 3]}'])
def test_a_file_that_cannot_be_read_is_replaced(text, tmp_path):
    (tmp_path / "tiles").write_text(text)
    gpu = Fake(dict.fromkeys(TILES, 1.0))
    assert gpu.tuner(tmp_path).choose("key", TILES, gpu.run, gpu) == TILES[0]
    assert gpu.tuner(tmp_path).choose("key", TILES, lambda tile: None, gpu) == TILES[0]


def test_without_platformdirs_nothing_is_kept_on_disk(monkeypatch):
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # an import of it fails
    gpu = Fake(dict.fromkeys(TILES, 1.0))
    tuner = Tuner(time_of=gpu.time_of)
    assert tuner.path is None
    assert tuner.choose("key", TILES, gpu.run, gpu) == TILES[0]
    tries = len(gpu.ran)
    assert tuner.choose("key", TILES, gpu.run, gpu) == TILES[0]  # remembered in this process
    assert len(gpu.ran) == tries
    assert Tuner().stored() == {}


def test_nothing_is_tried_while_a_graph_is_captured(tmp_path):
    gpu = Fake(dict(zip(TILES, (3.0, 2.0, 1.0), strict=True)))
    tuner = gpu.tuner(tmp_path)
    gpu.is_capturing = True
    assert tuner.choose("key", TILES, gpu.run, gpu) is None
    assert gpu.ran == []
    gpu.is_capturing = False
    assert tuner.choose("key", TILES, gpu.run, gpu) == TILES[2]


def test_nothing_is_tried_where_tuning_is_off(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEBENCH_TUNING", "off")
    gpu = Fake(dict(zip(TILES, (3.0, 2.0, 1.0), strict=True)))
    assert gpu.tuner(tmp_path).choose("key", TILES, gpu.run, gpu) == TILES[0]
    assert gpu.ran == []


def test_where_none_runs_the_first_error_is_raised(tmp_path):
    gpu = Fake(dict.fromkeys(TILES))
    with pytest.raises(OutOfResources):
        gpu.tuner(tmp_path).choose("key", TILES, gpu.run, gpu)


def test_other_errors_are_not_passed_over(tmp_path):
    def fails(tile):
        raise RuntimeError("illegal memory access")

    with pytest.raises(RuntimeError, match="illegal"):
        Fake({}).tuner(tmp_path).choose("key", TILES, fails, Fake({}))


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8, 9, 64, 65, 512, 5000])
@pytest.mark.parametrize("degree", [0.01, 1, 20, 200, 5000])
def test_tiles_are_blocks_that_triton_takes(batch, degree):
    tiles = candidates(batch, degree)
    assert len(set(tiles)) == len(tiles) > 1
    for tile in tiles:
        assert all(size == power_of_two(size) >= 1 for size in tile)
        assert tile.batch <= power_of_two(batch)
        assert tile.rows * tile.connections * tile.batch <= 8192


@pytest.mark.parametrize("degrees", [[5, 4, 6, 5], [200, 0, 90, 1, 40], [9000, 0, 3, 5000, 1, 2]])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_every_connection_is_in_one_task(degrees, dtype):
    ptr = torch.tensor([0, *torch.tensor(degrees).cumsum(0)], dtype=dtype)
    split = share_out(ptr, int(ptr[-1]))
    order = range(len(degrees)) if split.order is None else split.order.tolist()
    tasks = []
    for piece in range(split.pieces):
        row, begin = int(split.piece_row[piece]), int(split.piece_begin[piece])
        assert row == order[torch.searchsorted(split.piece_ptr, piece, right=True) - 1]
        tasks.append((begin, min(begin + split.cut, int(ptr[row + 1]))))
    tasks += [(int(ptr[row]), int(ptr[row + 1])) for row in order[split.long_rows :]]
    assert len(tasks) == split.tasks
    covered = sorted(place for begin, end in tasks for place in range(begin, end))
    assert covered == list(range(int(ptr[-1])))
    assert all(end - begin <= split.cut for begin, end in tasks)
    assert (split.order is None) == (max(degrees) < 10)
