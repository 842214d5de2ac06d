"""Files are found, named alike on every machine, and known again by their connections."""

import numpy as np
import pytest
import torch

from sparsebench import datafolders
from sparsebench.cases import problem, sweep, weights
from sparsebench.cases.case import Case
from sparsebench.cases.weights import resnet50
from sparsebench.cases.weights.matrix import Matrix
from sparsebench.errors import InputError
from sparselayers import Connectivity
from tests.sparsebench.cases.weights.test_readers import as_dense, pattern, write_smtx


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with a small collection, and nothing else on this machine."""
    torch.manual_seed(1)
    folder = tmp_path / "data" / "dlmc"
    for place, shape in (
        ("rn50/magnitude_pruning/0.9/bottleneck_2_block_group2_1_1", (4, 18)),
        ("rn50/magnitude_pruning/0.9/final_dense", (10, 20)),
        ("transformer/random_pruning/0.5/ffn", (8, 6)),
    ):
        path = folder / f"{place}.smtx"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_smtx(path, torch.rand(shape) < 0.3)
    monkeypatch.setenv(datafolders.VARIABLE, str(tmp_path / "data"))
    monkeypatch.setattr(datafolders, "cache", lambda: tmp_path / "cache")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "data"


NAMES = [
    "dlmc/rn50/magnitude_pruning/0.9/bottleneck_2_block_group2_1_1.smtx",
    "dlmc/rn50/magnitude_pruning/0.9/final_dense.smtx",
    "dlmc/transformer/random_pruning/0.5/ffn.smtx",
]


def names(*paths):
    return [source.name for source in weights.find(paths, 0.3)]


def test_files_of_a_data_folder_are_called_by_their_place_in_it(data, monkeypatch):
    assert names("dlmc") == names(str(data / "dlmc")) == NAMES
    assert names("dlmc/*/*/0.9") == NAMES[:2]
    monkeypatch.chdir(data / "dlmc" / "rn50")
    assert names("magnitude_pruning/0.9/final_dense.smtx") == NAMES[1:2]
    assert names("dlmc/rn50", "dlmc/rn50/magnitude_pruning/0.9/final_dense.smtx") == NAMES[:2]


def test_other_files_are_called_by_what_was_named(data, tmp_path, monkeypatch):
    monkeypatch.delenv(datafolders.VARIABLE)
    assert names(str(data / "dlmc" / "transformer")) == ["transformer/random_pruning/0.5/ffn.smtx"]
    monkeypatch.chdir(data)  # what a pattern finds is called by as much as the pattern has
    assert names("dlmc/*/*/0.5/*.smtx") == ["dlmc/transformer/random_pruning/0.5/ffn.smtx"]
    monkeypatch.chdir(data / "dlmc")
    assert names("*/*/0.5") == ["transformer/random_pruning/0.5/ffn.smtx"]
    monkeypatch.chdir(tmp_path / "here")
    odd = tmp_path / "here" / "my net, 2:4@home.smtx"
    write_smtx(odd, torch.eye(3))
    assert names(odd.name) == ["my_net__2_4_home.smtx"]


def test_a_link_is_called_and_read_as_what_it_is_called(data, tmp_path, monkeypatch):
    """As the files of a Hugging Face cache, which lead to blobs without a suffix."""
    monkeypatch.delenv(datafolders.VARIABLE)
    blobs, model = tmp_path / "blobs", tmp_path / "net"
    blobs.mkdir()
    model.mkdir()
    torch.save({"layer": torch.eye(4)}, blobs / "abc")
    (model / "pytorch_model.bin").symlink_to(blobs / "abc")
    (source,) = weights.find([str(model)], 0.3)
    assert source.name == "net:layer"
    assert weights.read(source.topology, source.path).digest == source.digest
    (source,) = weights.find([str(model / "pytorch_model.bin")], 0.3)
    assert source.name == "pytorch_model.bin:layer"
    assert weights.read(source.topology, source.path).digest == source.digest


def test_the_digest_is_that_of_the_connections(data):
    connectivity = Connectivity((2, 3), torch.tensor([0, 1, 2]), torch.tensor([2, 0]))
    assert Matrix(connectivity).digest == "d2cb4af57fa0"  # for ever, or records would not meet
    assert Matrix(connectivity, torch.ones(2)).digest == Matrix(connectivity).digest
    assert len({source.digest for source in weights.find(["dlmc"], 0.3)}) == 3


def test_a_matrix_is_read_where_it_is_found_and_known_by_its_digest(data):
    (source,) = weights.find([NAMES[2]], 0.3)
    for path in (source.path, "", "/nowhere/else.smtx"):  # as on another machine
        assert weights.read(source.topology, path).digest == source.digest
    write_smtx(data / NAMES[2], torch.eye(6))
    with pytest.raises(InputError, match=r"ffn.smtx: has other connections .*file has changed"):
        weights.read(source.topology, source.path)
    (data / NAMES[2]).unlink()
    with pytest.raises(InputError, match=r"ffn.smtx: not found on this machine; looked in"):
        weights.read(source.topology, source.path)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        (NAMES[0], "rn50"),
        ("pruned/a.mtx", "pruned"),
        ("a.mtx", "a.mtx"),
        ("models/bert:encoder.weight", "bert"),
        ("bert.safetensors:encoder.weight", "bert.safetensors"),
    ],
)
def test_networks(name, network):
    assert weights.network(name) == network


GRID = """\
[grid]
implementation = ["dense", "ours"]
batch = 4
phase = "inference"
"""


@pytest.fixture
def asked(tmp_path):
    def cases(text):
        (tmp_path / "some.toml").write_text(text)
        return sweep.load(str(tmp_path / "some.toml")).cases(["cpu"], [2])

    return cases


def test_a_sweep_takes_shape_sparsity_and_connections_from_the_files(data, asked):
    found = asked(GRID + 'weights = ["dlmc"]\n')
    assert [(c.implementation, c.out_features, c.in_features) for c in found[::2]] == [
        ("dense", 4, 18),
        ("dense", 10, 20),
        ("dense", 8, 6),
    ]
    for case, source in zip(found[::2], weights.find(["dlmc"], 0.3), strict=True):
        assert case.topology == f"file:{source.name}@{source.digest}"
        assert case.nnz == source.nnz
        assert f"topology={case.topology} batch=4" in case.key
        assert str(data) not in case.key
        assert case == Case(**case.described)  # as a record says it


def test_a_topology_that_is_a_file_is_the_same(data, asked):
    named = f'"file:{NAMES[1]}"'
    assert asked(GRID + f"topology = {named}\n") == asked(GRID + f'weights = "{NAMES[1]}"\n')
    both = asked(GRID + f'topology = ["random", {named}]\nwidth = 8\nsparsity = 0.5\n')
    assert [(c.topology[:6], c.out_features) for c in both[::2]] == [("random", 8), ("file:d", 10)]


def test_a_grid_of_convolutions_takes_those_that_are(data, asked, tmp_path):
    conv = GRID + 'operation = "conv2d"\n'
    (case, _) = asked(conv + 'weights = "dlmc"\n')
    assert case.size == "2→4 3×3 28²"
    assert asked(conv + 'weights = "dlmc"\nimage = 7\n')[0].size == "2→4 3×3 7²"
    torch.save({"weight": torch.eye(12).view(6, 8, 3, 1)}, tmp_path / "odd.pt")
    assert not asked(conv + f'weights = "{tmp_path}/odd.pt"\n')
    torch.save({"weight": torch.eye(12)[:, :9].reshape(12, 1, 3, 3)}, tmp_path / "conv.pt")
    assert not asked(conv + f'weights = "{tmp_path}/conv.pt"\n')  # the image is not known
    assert (
        asked(conv + f'weights = "{tmp_path}/conv.pt"\nimage = 5\nstride = 2\n')[0].size
        == "1→12 3×3/2 5²"
    )
    assert asked(conv + f'weights = "{NAMES[2]}"\nkernel = 1\nimage = 5\n')[0].size == "6→8 1×1 5²"
    with pytest.raises(InputError, match="6 columns are no whole number of windows of 3 × 3"):
        asked(conv + f'weights = "{NAMES[2]}"\nkernel = 3\nimage = 5\n')


def test_an_include_may_bring_files_or_leave_them(data, asked):
    drawn = GRID + "width = 8\nsparsity = 0.5\n"
    found = asked(drawn + f'[[include]]\nweights = "{NAMES[1]}"\n')
    assert [c.topology[:6] for c in found] == ["random"] * 2 + ["file:d"] * 2
    found = asked(GRID + f'weights = "{NAMES[1]}"\n[[include]]\nwidth = 8\nsparsity = 0.5\n')
    assert [c.topology[:6] for c in found] == ["file:d"] * 2 + ["random"] * 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "give either width, or both in_features and out_features, or weights"),
        ("width = 8\n", "sparsity is required but missing"),
        ('weights = "dlmc"\nsparsity = 0.5\n', "the matrices of weights bring theirs"),
        ('topology = "other"\nwidth = 8\nsparsity = 0.5\n', "power_law, full_rows, file:"),
        ('topology = "file:"\n', "unknown topology"),
        ("weights = []\n", "at least 1"),
        ('weights = "dlmc"\nkernel = 3\n', 'only with operation = "conv2d"'),
    ],
)
def test_what_cannot_be_asked(data, asked, text, part):
    with pytest.raises(InputError) as error:
        asked(GRID + text)
    assert part in str(error.value)
    assert "some.toml" in str(error.value)


def test_weights_take_the_place_of_a_sweeps_layers(data):
    changed = sweep.load("conv").changed(threads=None, seed=None, weights=["dlmc"])
    found = changed.cases(["cpu"], [2])
    assert {c.size for c in found} == {"2→4 3×3 32²", "2→4 3×3 56²", *IMAGES}
    assert {c.topology for c in sweep.load("default").changed(
        threads=None, seed=None, weights=["dlmc/transformer"]
    ).cases(["cpu"], [2])} == {weights.find([NAMES[2]], 0.3)[0].topology}  # fmt: skip


IMAGES = {f"2→4 3×3 {image}²" for image in (16, 8, 14, 4)}


def test_a_problem_has_the_files_connections_and_values(data, asked, tmp_path):
    dense = torch.randn(6, 9) * (torch.rand(6, 9) < 0.4)
    torch.save({"weight": dense}, tmp_path / "some.pt")
    case = asked(GRID + f'weights = "{tmp_path}/some.pt"\n')[0]
    made = problem.make(case)
    assert torch.equal(as_dense(made), dense)
    drawn = problem.make(asked(GRID + f'weights = "{NAMES[2]}"\n')[0])
    assert drawn.values.std() > 0


WINDOWS = [
    ("initial_conv", (7, 2, 224)),
    ("bottleneck_1_block_group1_1_1", (1, 1, 56)),
    ("bottleneck_2_block_group4_2_1", (3, 1, 7)),
    ("bottleneck_1_block_group_projection_block_group3", (1, 1, 28)),
    ("bottleneck_2_block_group_projection_block_group3", (3, 2, 28)),
    ("bottleneck_3_block_group_projection_block_group3", (1, 1, 14)),
    ("bottleneck_projection_block_group_projection_block_group3", (1, 2, 28)),
    ("bottleneck_2_block_group_projection_block_group1", (3, 1, 56)),
    ("bottleneck_projection_block_group_projection_block_group1", (1, 1, 56)),
    ("final_dense", None),
]


@pytest.mark.parametrize(("layer", "window"), WINDOWS)
def test_the_windows_of_resnet50(layer, window):
    """Compared with torchvision's network, whose block is the same and whose names are others."""
    assert resnet50.window(f"dlmc/rn50/magnitude_pruning/0.9/{layer}.smtx") == window
    assert resnet50.window(f"dlmc/transformer/0.9/{layer}.smtx") is None


def test_the_windows_are_torchvisions():
    from torchvision.models import resnet50 as network

    with torch.device("meta"):
        model = network()
        x = torch.empty(1, 3, 224, 224)
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda module, inputs, _, name=name: seen.update(
                    {name: (module.kernel_size[0], module.stride[0], inputs[0].shape[-1])}
                )
            )
    model(x)
    layers = {"initial_conv": "conv1"}
    for group in range(1, 5):
        first = f"block_group_projection_block_group{group}"
        for place in (1, 2, 3):
            layers[f"bottleneck_{place}_block_group{group}_1_1"] = f"layer{group}.1.conv{place}"
            layers[f"bottleneck_{place}_{first}"] = f"layer{group}.0.conv{place}"
        layers[f"bottleneck_projection_{first}"] = f"layer{group}.0.downsample.0"
    for layer, theirs in layers.items():
        assert resnet50.window(f"rn50/{layer}.smtx") == seen[theirs], layer


def test_columns_come_in_pytorchs_order():
    """A matrix (out, kernel, kernel, in) as TensorFlow flattens it is PyTorch's (out, in, …)."""
    there = torch.rand(5, 3, 3, 2) < 0.4
    file = Matrix(Connectivity(*rows_of(there.flatten(1))))
    ordered = pattern(resnet50.in_order(file, 3)).view(5, 2, 3, 3)
    assert torch.equal(ordered, there.permute(0, 3, 1, 2))


def rows_of(there):
    row_ptr = np.cumsum([0, *there.sum(1).tolist()])
    return tuple(there.shape), torch.from_numpy(row_ptr), there.nonzero()[:, 1]
