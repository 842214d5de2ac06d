"""A file that is damaged, or lies about itself: one message with the file and what is wrong."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch

from sparsebench.cases import weights
from sparsebench.errors import InputError

GOOD = "2, 3, 3\n0 1 3\n1 0 2\n"


def refused(path):
    with pytest.raises(InputError) as error:
        weights.find([str(path)], 0.3)
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("line 1", "rows, columns, entries")),
        ("2, 3\n0 1 3\n1 0 2\n", ("line 1", "three integers")),
        ("0, 3, 3\n0 1 3\n1 0 2\n", ("line 1", "0 × 3", "at least 1")),
        ("2, 3, 7\n0 1 3\n1 0 2\n", ("line 1", "7 entries do not fit into 2 × 3")),
        ("200, 300, 3000\n0 1 3\n1 0 2\n", ("is cut", "line 1 says 3000 entries in 200 rows")),
        ("2, 3, 3\n0 1 3\n1   0", ("line 3", "entries = 3 integers", "holds 2", "cut")),
        ("2, 3, 3\n0 1 2 3\n1 0 2\n", ("line 2", "rows + 1 = 3 integers, holds 4")),
        ("2, 3, 3\n0 3 1\n1 0 2\n", ("line 2", "row_ptr must run from 0 to nnz = 3")),
        ("2, 3, 3\n0 4 3\n1 0 2\n", ("line 2", "row_ptr must not decrease")),
        ("2, 3, 3\n0 1 3\n1 0 3\n", ("line 3", "col[2] = 3 is outside [0, 3)")),
        ("2, 3, 3\n0 1 3\n1 4294967297 2\n", ("line 3", "col[1] = 4294967297 is outside")),
        ("2, 3, 3\n0 1 3\n1 2 0\n", ("line 3", "must ascend", "col[1] = 2 and col[2] = 0")),
        ("2, 3, 3\n0 1 3\n1 2 2\n", ("line 3", "without duplicates", "col[1] = 2 and col[2] = 2")),
        ("2, 3, 3\n0 1 3\n1 -2 2\n", ("line 3", "-2")),
        ("2, 3, 3\n0 1 3\n1 0.5 2\n", ("line 3", "0.5", "is no integer")),
        (GOOD + "4 5\n", ("line 4", "nothing below")),
        (GOOD + " " * 500, ("line 1", "never take the")),
    ],
)
def test_smtx(tmp_path, text, parts):
    path = tmp_path / "bad.smtx"
    path.write_text(text)
    message = refused(path)
    assert all(part in message for part in parts), message


def test_a_good_one_is_read(tmp_path):
    (tmp_path / "good.smtx").write_text(GOOD)
    (source,) = weights.find([str(tmp_path / "good.smtx")], 0.3)
    assert (source.shape, source.nnz) == ((2, 3), 3)


@pytest.mark.parametrize("name", ["z.smtx", "z.mtx", "z.npz", "z.safetensors", "z.pt", "z.bin"])
def test_a_gigabyte_of_zeros(tmp_path, name):
    if name in ("z.mtx", "z.npz"):
        pytest.importorskip("scipy")
    with (tmp_path / name).open("wb") as file:
        file.truncate(10**9)  # takes no room on the disk
    assert len(refused(tmp_path / name)) < 400


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1 1 2\n", ("line 1", "MatrixMarket")),
        ("%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 4\n", ("Truncated",)),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 4\n", ("Line 3", "out of")),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 4\n1 1 5\n",
            ("is there twice",),
        ),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", ("value 0 is nan",)),
        ("%%MatrixMarket matrix coordinate complex general\n2 2 1\n1 1 4 1\n", ("complex",)),
        ("%%MatrixMarket matrix array real general\n2 2\n0\n0\n0\n0\n", ("no entry",)),
        ("%%MatrixMarket matrix array real general\n9999999 9999999\n0\n", ("GB to be read",)),
    ],
)
def test_mtx(tmp_path, text, parts):
    pytest.importorskip("scipy.io")
    path = tmp_path / "bad.mtx"
    path.write_text(text)
    message = refused(path)
    assert all(part in message for part in parts), message


def npz(path, **changes):
    arrays = {
        "indices": np.array([1, 0, 2]),
        "indptr": np.array([0, 1, 3]),
        "format": np.array(b"csr"),
        "shape": np.array([2, 3]),
        "data": np.ones(3),
    }
    np.savez(path, **{name: a for name, a in (arrays | changes).items() if a is not None})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"indices": np.array([1, 2, 0])}, ("must ascend", "sort_indices")),
        ({"indices": np.array([1, 2, 2])}, ("without duplicates",)),
        ({"indices": np.array([1, 0, 3])}, ("col[2] = 3 is outside",)),
        ({"indices": np.array([1, 0])}, ("no whole archive",)),
        ({"indptr": np.array([0, 1])}, ("no whole archive",)),
        ({"shape": np.array([5, 3])}, ("no whole archive",)),
        ({"data": np.array([1.0, np.inf, 2.0])}, ("value 1 is inf",)),
        ({"format": None}, ("no matrix of SciPy", "indices.npy")),
        ({"data": np.array([object()] * 3)}, ("no whole archive", "allow_pickle")),
    ],
)
def test_npz(tmp_path, changes, parts):
    pytest.importorskip("scipy.sparse")
    npz(tmp_path / "bad.npz", **changes)
    message = refused(tmp_path / "bad.npz")
    assert all(part in message for part in parts), message


def test_an_archive_that_unfolds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    pytest.importorskip("scipy.sparse")
    path = tmp_path / "bomb.npz"
    npz(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(10**8))
    assert path.stat().st_size < 10**6
    free = type("Free", (), {"available": 3 * 10**8})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    assert "needs about 0.4 GB to be read, 0.3 are free" in refused(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pt"])
def test_what_is_cut(tmp_path, suffix, part):
    path = tmp_path / f"cut.{suffix}"
    weight = torch.randn(30, 40).relu()
    if suffix == "npz":
        sparse = pytest.importorskip("scipy.sparse")
        sparse.save_npz(path, sparse.csr_array(weight.numpy()))
    elif suffix == "safetensors":
        pytest.importorskip("safetensors.torch").save_file({"weight": weight}, path)
    else:
        torch.save({"weight": weight}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path)


class Malice:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_pickled_code_is_never_run(tmp_path, capsys):
    held = {"weight": torch.randn(4, 4).relu(), "more": Malice()}
    for name, zipped in (("new.pt", True), ("old.pt", False)):
        torch.save(held, tmp_path / name, _use_new_zipfile_serialization=zipped)
        message = refused(tmp_path / name)
        assert "holds pickled code" in message
        assert "print" in message
        assert "torch.save(model.state_dict(), path)" in message
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malice()))
    refused(tmp_path / "plain.pt")
    assert "never be printed" not in capsys.readouterr().out


def test_a_whole_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(3, 3), tmp_path / "model.pt")
    assert "torch.nn.modules.linear.Linear" in refused(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("held", "parts"),
    [
        (
            {"a.weight_orig": torch.ones(4, 4), "a.weight_mask": torch.ones(4, 5)},
            ("tensor a.weight_mask", "(4, 5)", "(4, 4)"),
        ),
        ({"a": torch.tensor([[0.0, torch.nan], [0.0, 0.0]])}, ("tensor a", "value 0 is nan")),
        ({"a": torch.zeros(4, 4)}, ("a (100.0% zeros)",)),
        ({}, ("no tensor",)),
        ([torch.ones(3)], ("holds list",)),
    ],
)
def test_tensors(tmp_path, held, parts):
    torch.save(held, tmp_path / "bad.pt")
    message = refused(tmp_path / "bad.pt")
    assert all(part in message for part in parts), message


def test_shards(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    index = folder / "model.safetensors.index.json"
    index.write_text("[")
    assert "no index" in refused(folder)
    index.write_text(json.dumps({"weight_map": {"a.weight": "one.safetensors"}}))
    assert "tensor a.weight is in one.safetensors, which is not in the folder" in refused(folder)
    save = pytest.importorskip("safetensors.torch").save_file
    save({"b.weight": torch.eye(3)}, folder / "one.safetensors")
    assert "one.safetensors: has no tensor a.weight" in refused(folder)
    index.write_text(json.dumps({"weight_map": {"a.weight": "../one.safetensors"}}))
    assert "which is not in the folder" in refused(folder)


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"'nothing.smtx': no such file or folder; looked in here"):
        weights.find(["nothing.smtx"], 0.3)
    (tmp_path / "some.txt").write_text("")
    assert "no format that is read: .smtx, .mtx" in refused(tmp_path / "some.txt")
    assert "no file in it ends with" in refused(tmp_path)
