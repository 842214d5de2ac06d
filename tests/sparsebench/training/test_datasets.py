import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparsebench import datafolders
from sparsebench.training import datasets
from sparsebench.training.datasets import cifar10
from sparsebench.training.datasets import digits as mnist
from sparsebench.training.datasets.idx import read_idx


def write_idx(path, array):
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """No data in any of the usual places."""
    monkeypatch.delenv("SPARSEBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datafolders, "cache", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def nowhere(monkeypatch, empty):
    """No data in any of the usual places, and no network."""

    def refuse(name):
        raise OSError("no network")

    monkeypatch.setattr(mnist, "_download", refuse)
    return empty


def test_an_idx_file_comes_back_as_it_was_written(tmp_path):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    write_idx(tmp_path / "file", array)
    assert torch.equal(read_idx(tmp_path / "file"), torch.from_numpy(array).to(torch.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"GIF89a", "begins with 47 49 46"),
        (bytes((0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3)) + bytes(5), "asks for 18 bytes.*has 17"),
        (bytes((0, 0, 8, 1, 0, 0, 0, 2)) + bytes(3), "asks for 10 bytes.*has 11"),
        (bytes((0, 0, 8, 3, 0, 0)), "damaged"),
    ],
)
def test_a_damaged_idx_file_is_named_with_expected_and_found(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s){tmp_path / 'file'}.*{message}"):
        read_idx(tmp_path / "file")


def test_another_checksum_is_an_error(tmp_path):
    write_idx(tmp_path / "file", np.zeros(3))
    with pytest.raises(ValueError, match="its MD5 must be 0000, and is"):
        read_idx(tmp_path / "file", md5="0000")


def test_the_subset_is_real_digits_normalised():
    subset = datasets.load("mnist-subset")
    assert subset.name == "mnist-subset"
    assert not subset.complete
    assert subset.train_images.shape == (10_000, 784)
    assert subset.test_labels.shape == (2_000,)
    assert abs(float(subset.train_images.mean())) < 0.02
    assert abs(float(subset.train_images.std()) - 1) < 0.02
    assert int(subset.train_labels.bincount().min()) > 850
    assert mnist.SUBSET.stat().st_size <= 3_000_000


def test_the_subset_stands_in_for_mnist_alone_and_says_so(nowhere):
    found = datasets.load("MNIST")
    assert found.name == "mnist-subset"
    assert "embedded subset" in found.note
    assert str(nowhere / "cache") in found.note
    with pytest.raises(FileNotFoundError, match=r"no KMNIST found, looked in .*no network"):
        datasets.load("KMNIST")


@pytest.mark.parametrize("how", [RuntimeError("no server answers"), KeyboardInterrupt()])
def test_what_a_broken_download_leaves_is_not_taken_for_data(monkeypatch, empty, how):
    shapes = {name: (6, *shape[1:]) for name, shape in mnist.FILES.items()}
    monkeypatch.setattr(mnist, "FILES", shapes)
    monkeypatch.setattr(mnist, "MD5", {})
    broken = [True]

    def fetch(root, download):
        """As torchvision does it: a file after another, in the place where they are to be."""
        assert download
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for number, (name, shape) in enumerate(shapes.items()):
            if broken[0] and number == 2:
                raise how
            write_idx(raw / name, np.full(shape, 3))

    monkeypatch.setattr(mnist.vision, "part", lambda _: SimpleNamespace(MNIST=fetch))
    earlier = empty / "cache" / "MNIST" / "raw"  # such as torchvision made it in an earlier run
    earlier.mkdir(parents=True)
    (earlier / "train-labels-idx1-ubyte.gz").write_bytes(b"half")
    for _ in range(2):
        if isinstance(how, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                datasets.load("MNIST")
        else:
            assert datasets.load("MNIST").name == "mnist-subset"
    assert [path.name for path in (empty / "cache").iterdir()] == ["MNIST"]
    broken[0] = False
    assert datasets.load("MNIST").train_labels.tolist() == [3] * 6
    broken[0] = True
    assert datasets.load("MNIST").train_labels.tolist() == [3] * 6  # it is there now


def test_a_broken_download_of_cifar10_leaves_nothing(monkeypatch, empty):

    def fetch(root, download):
        folder = Path(root) / cifar10.FOLDER
        folder.mkdir()
        for name in (cifar10.TRAINING[0], cifar10.TEST):  # which would be taken for all there is
            (folder / name).write_bytes(b"")
        raise OSError("the disk is full")

    monkeypatch.setattr(cifar10.vision, "part", lambda _: SimpleNamespace(CIFAR10=fetch))
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="the download failed: the disk is full"):
            datasets.load("CIFAR10")
    assert list((empty / "cache").iterdir()) == []


def test_a_given_folder_without_data_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"looked in --data-dir: {tmp_path / 'MNIST'}"):
        datasets.load("MNIST", data_dir=tmp_path)


def test_an_unknown_dataset_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'CIFAR': choose one of MNIST, .*mnist-subset"):
        datasets.load("CIFAR")


def test_a_missing_or_wrong_file_of_a_set_is_named(tmp_path):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte is missing"):
        datasets.load("KMNIST", data_dir=tmp_path)
    write_idx(raw / "train-images-idx3-ubyte", np.zeros((5, 28, 28)))
    with pytest.raises(ValueError, match=r"train-images.*must hold an array \(60000, 28, 28\)"):
        datasets.load("KMNIST", data_dir=tmp_path)


def test_another_set_of_the_same_shape_is_read(tmp_path, monkeypatch):
    shapes = {name: (6, *shape[1:]) for name, shape in mnist.FILES.items()}
    monkeypatch.setattr(mnist, "FILES", shapes)
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    for name, shape in shapes.items():
        write_idx(tmp_path / "FashionMNIST" / "raw" / name, np.full(shape, 3))
    found = datasets.load("fashionmnist", data_dir=tmp_path)
    assert found.name == "fashionmnist"
    assert found.complete
    assert found.train_labels.tolist() == [3] * 6
    torch.testing.assert_close(
        found.test_images, torch.full((6, 784), (3 / 255 - mnist.MEAN) / mnist.DEVIATION)
    )


def test_packed_files_are_found_where_debian_puts_them(nowhere, monkeypatch):
    shapes = {name: (6, *shape[1:]) for name, shape in mnist.FILES.items()}
    monkeypatch.setattr(mnist, "FILES", shapes)
    folder = nowhere / "fashion-mnist"
    monkeypatch.setitem(mnist.DEBIAN, "FashionMNIST", folder)
    with pytest.raises(FileNotFoundError, match=f"Debian's package: {folder}"):
        datasets.load("FashionMNIST")
    folder.mkdir()
    for name, shape in shapes.items():
        write_idx(folder / name, np.full(shape, 3))
        packed = gzip.compress((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / f"{name}.gz").write_bytes(packed)
    assert datasets.load("FashionMNIST").train_labels.tolist() == [3] * 6
    with pytest.raises(FileNotFoundError, match="no FashionMNIST found, looked in --data-dir"):
        datasets.load("FashionMNIST", data_dir=nowhere)
    (folder / f"{name}.gz").write_bytes(packed[:-4])
    with pytest.raises(ValueError, match=f"{name}.gz is damaged"):
        datasets.load("FashionMNIST")


def test_held_out_images_take_the_place_of_the_test_set(digits):
    held = digits.hold_out(100)
    assert torch.equal(held.train_images, digits.train_images[:200])
    assert torch.equal(held.test_labels, digits.train_labels[200:])
    with pytest.raises(ValueError, match="1 to 299 images, got 300"):
        digits.hold_out(300)
