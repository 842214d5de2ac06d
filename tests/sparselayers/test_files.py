from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sparselayers as sl
from sparselayers import files


def test_a_layer_comes_back_and_its_file_stays_as_it_is(tmp_path):
    layer = sl.SparseLinear(40, 30, sparsity=0.8)
    path = tmp_path / "layer.safetensors"
    files.save(layer, path)
    content = path.read_bytes()
    for name, tensor in load_file(path).items():  # any reader of the format gets the arrays
        assert torch.equal(tensor, layer.state_dict()[name])
    loaded = files.load(path)
    x = torch.randn(4, 40)
    assert torch.equal(loaded(x), layer(x))
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1, momentum=0.9)
    rewirer = sl.SET(loaded, optimizer, update_every=1, stop_after=9)
    loaded(x).square().sum().backward()
    optimizer.step()
    rewirer.step()
    assert not torch.equal(loaded(x), layer(x))
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_no_bias_and_other_types(tmp_path):
    layer = sl.SparseLinear(40, 30, bias=False, sparsity=0.8, dtype=torch.float64)
    files.save(layer, tmp_path / "layer")
    loaded = files.load(tmp_path / "layer")
    assert loaded.bias is None
    assert torch.equal(loaded.weights, layer.weights)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"no safetensors file")
    with pytest.raises(ValueError, match="other is no safetensors file"):
        files.load(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"other holds no .* it holds weight"):
        files.load(path)
    layer = sl.SparseLinear(40, 30, sparsity=0.8)
    state = layer.state_dict()
    state["col"][5] = 40
    about = {"kind": "sparsebench SparseLinear", "in_features": "40", "out_features": "30"}
    save_file(state, path, metadata=about)
    with pytest.raises(ValueError, match=r"col\[5\] = 40 is outside \[0, 40\)"):
        files.load(path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "layer"
    files.save(sl.SparseLinear(4, 3, sparsity=0.5), path)
    content = path.read_bytes()

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        files.save(sl.SparseLinear(4, 3, sparsity=0.5), path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["layer"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="read from Linux' own list")
def test_the_arrays_of_a_loaded_layer_are_the_files(tmp_path):
    path = tmp_path / "layer.safetensors"
    files.save(sl.SparseLinear(4000, 4000, sparsity=0.9), path)
    loaded = files.load(path)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    of_file = [fields[0].split("-") for fields in maps if fields[-1] == str(path)]
    ends = [(int(low, 16), int(high, 16)) for low, high in of_file]
    for array in (loaded.weights, loaded.connectivity.col):
        assert any(low <= array.data_ptr() < high for low, high in ends)
