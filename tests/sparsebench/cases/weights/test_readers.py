"""What each format holds comes back, connections and values: compared with the dense matrix."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sparsebench.cases import weights
from sparsebench.errors import InputError


@pytest.fixture
def dense():
    """A matrix with an empty row, an empty column and a full row."""
    matrix = torch.randn(6, 9) * (torch.rand(6, 9) < 0.4)
    matrix[2], matrix[:, 4], matrix[3] = 0, 0, 1.5
    return matrix


def only(path, **options):
    """The one matrix in a file, as the case of a sweep would read it."""
    (source,) = weights.find([str(path)], options.get("min_sparsity", 0.3))
    return source, weights.read(source.topology, source.path)


def as_dense(matrix, values=None):
    connectivity = matrix.connectivity
    values = matrix.values if values is None else values
    made = torch.zeros(connectivity.shape, dtype=values.dtype)
    made[connectivity.row.long(), connectivity.col.long()] = values
    return made


def pattern(matrix):
    return as_dense(matrix, torch.ones(matrix.connectivity.nnz)) != 0


def write_smtx(path, dense):
    rows = [row.nonzero()[:, 0].tolist() for row in dense]
    ends = np.cumsum([0, *map(len, rows)])
    lines = [f"{len(dense)}, {dense.shape[1]}, {ends[-1]}"]
    lines += [" ".join(map(str, ends)), " ".join(str(c) for row in rows for c in row)]
    path.write_text("\n".join(lines) + "\n")


def test_smtx_is_a_pattern(tmp_path, dense):
    write_smtx(tmp_path / "some.smtx", dense)
    source, matrix = only(tmp_path / "some.smtx")
    assert torch.equal(pattern(matrix), dense != 0)
    assert matrix.values is None
    assert source.name == "some.smtx"
    assert source.sparsity == pytest.approx(float((dense == 0).float().mean()))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_npz_of_any_format(tmp_path, dense, kind):
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_array(dense.numpy()).asformat(kind)
    sparse.save_npz(tmp_path / "some.npz", matrix)
    _, found = only(tmp_path / "some.npz")
    assert torch.equal(as_dense(found), dense)


@pytest.mark.parametrize("layout", ["coordinate", "array"])
def test_mtx(tmp_path, dense, layout):
    io, sparse = pytest.importorskip("scipy.io"), pytest.importorskip("scipy.sparse")
    given = sparse.coo_array(dense.numpy()) if layout == "coordinate" else dense.numpy()
    io.mmwrite(tmp_path / "some.mtx", given)
    _, found = only(tmp_path / "some.mtx")
    torch.testing.assert_close(as_dense(found).float(), dense)


def test_mtx_patterns_in_any_order_and_symmetric_ones(tmp_path):
    pytest.importorskip("scipy.io")
    path = tmp_path / "some.mtx"
    path.write_text("%%MatrixMarket matrix coordinate pattern general\n2 3 3\n2 3\n1 2\n2 1\n")
    _, found = only(path)
    assert pattern(found).tolist() == [[False, True, False], [True, False, True]]
    assert found.values is None
    path.write_text("%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 4\n2 1 5\n")
    _, found = only(path)
    assert as_dense(found).tolist() == [[4, 5], [5, 0]]


def state(dense):
    """A checkpoint as they are: biases, something dense, something small, a mask on its way."""
    mask = (dense != 0).float()
    return {
        "first.weight": dense,
        "first.bias": torch.zeros(6),
        "full.weight": torch.ones(4, 4),
        "pruned.weight_orig": torch.where(mask == 0, 3.0, dense),
        "pruned.weight_mask": mask,
        "conv.weight": dense[:4].clone().view(4, 1, 3, 3),
        "zero.weight": torch.zeros(5, 5),
        "counts": torch.zeros(3, 3, dtype=torch.int64),
    }


def check_state(path, dense, name):
    found = {source.name: source for source in weights.find([str(path)], 0.3)}
    assert found.keys() == {
        f"{name}:{tensor}" for tensor in ("first.weight", "pruned.weight", "conv.weight")
    }
    for tensor, expected in (
        ("first.weight", dense),
        ("pruned.weight", dense),
        ("conv.weight", dense[:4]),
    ):
        source = found[f"{name}:{tensor}"]
        matrix = weights.read(source.topology, source.path)
        assert torch.equal(as_dense(matrix), expected), tensor
    assert found[f"{name}:conv.weight"].window.kernel == 3
    assert found[f"{name}:first.weight"].window is None


def test_safetensors(tmp_path, dense):
    save = pytest.importorskip("safetensors.torch").save_file
    save(state(dense), tmp_path / "some.safetensors")
    check_state(tmp_path / "some.safetensors", dense, "some.safetensors")


@pytest.mark.parametrize("around", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_pytorch(tmp_path, dense, around, zipped):
    held = around(state(dense)) | {"optimizer": {"state": {0: {"average": torch.eye(5)}}}}
    torch.save(held, tmp_path / "some.pt", _use_new_zipfile_serialization=zipped)
    check_state(tmp_path / "some.pt", dense, "some.pt")


def test_a_sparse_tensor_in_a_checkpoint(tmp_path, dense):
    torch.save({"layer": dense.to_sparse_coo()}, tmp_path / "some.pt")
    _, found = only(tmp_path / "some.pt")
    assert torch.equal(as_dense(found), dense)


@pytest.mark.parametrize("shards", ["safetensors", "bin", ""])
def test_a_hugging_face_folder(tmp_path, dense, shards):
    safetensors = pytest.importorskip("safetensors.torch")
    folder, whole = tmp_path / "model", state(dense)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if not shards:
        safetensors.save_file(whole, folder / "model.safetensors")
    else:
        stem = "model" if shards == "safetensors" else "pytorch_model"
        save = safetensors.save_file if shards == "safetensors" else torch.save
        names = list(whole)  # a weight and its mask are not in the same one
        parts = {f"{stem}-{n + 1}-of-2.{shards}": names[n::2] for n in range(2)}
        for shard, part in parts.items():
            save({name: whole[name] for name in part}, folder / shard)
        places = {name: shard for shard, part in parts.items() for name in part}
        (folder / f"{stem}.{shards}.index.json").write_text(json.dumps({"weight_map": places}))
    check_state(folder, dense, "model")
    (tmp_path / "models").mkdir()
    folder.rename(tmp_path / "models" / "mine")
    check_state(tmp_path / "models", dense, "models/mine")


def test_one_tensor_of_many(tmp_path, dense):
    torch.save(state(dense), tmp_path / "some.pt")
    (source,) = weights.find([f"{tmp_path}/some.pt:first.weight"], 0.3)
    assert source.name == "some.pt:first.weight"
    (source,) = weights.find([f"{tmp_path}/some.pt:full.weight"], 0.3)  # asked for, so not too full
    assert source.sparsity == 0
    with pytest.raises(InputError, match=r"some.pt: no weight 'other' .*there.*"):
        weights.find([f"{tmp_path}/some.pt:other"], 0.3)


def test_what_is_pruned_by_pytorch_is_read_as_it_is_saved(tmp_path):
    model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 10))
    prune.l1_unstructured(model[0], "weight", 0.9)
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    source, matrix = only(tmp_path / "pruned.pt")
    assert (source.name, source.nnz) == ("pruned.pt:0.weight", 20)
    assert torch.equal(as_dense(matrix), model[0].weight.detach())


def test_how_many_zeros_are_sparse_is_said(tmp_path, dense):
    torch.save({"half.weight": dense}, tmp_path / "some.pt")
    with pytest.raises(InputError, match=r"some.pt: no weight .* 90% zeros or more.*half.weight"):
        weights.find([f"{tmp_path}/some.pt"], 0.9)
