"""Sweep files: what they ask for, and what bad ones are told."""

import pytest

from sparsebench.cases import sweep
from sparsebench.cases.drawable import undrawable
from sparsebench.errors import InputError

GRID = """\
[grid]
implementation = ["dense", "ours"]
width = [8, 16]
sparsity = [0.5, 0.9]
batch = 4
phase = "inference"
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """A data folder with one layer of each network of the collection, small ones."""
    for layer in (
        "rn50/magnitude_pruning/0.9/bottleneck_2_block_group2_1_1",
        "transformer/random_pruning/0.9/ffn",
    ):
        file = tmp_path / "dlmc" / f"{layer}.smtx"
        file.parent.mkdir(parents=True)
        file.write_text("2, 9, 3\n0 1 3\n8 0 7\n")
    monkeypatch.setenv("SPARSEBENCH_DATA", str(tmp_path))


def cases(path):
    return sweep.load(path).cases(["cpu"], [2])


def test_a_grid_is_a_product(written):
    found = cases(written(GRID))
    assert len(found) == len(set(found)) == 8
    assert {(c.in_features, c.out_features) for c in found} == {(8, 8), (16, 16)}
    assert {(c.device, c.threads, c.dtype, c.seed) for c in found} == {("cpu", 2, "float32", 0)}


def test_shapes_need_not_be_square(written):
    text = GRID.replace("width = [8, 16]", "in_features = [8, 9]\nout_features = 3")
    assert {(c.in_features, c.out_features) for c in cases(written(text))} == {(8, 3), (9, 3)}


def test_conditions_of_an_exclude_all_have_to_hold(written):
    text = GRID + '[[exclude]]\nimplementation = "dense"\nsparsity = "<0.9"\nwidth = [16, 32]\n'
    found = cases(written(text))
    assert len(found) == 7
    assert not [
        c for c in found if (c.implementation, c.sparsity, c.in_features) == ("dense", 0.5, 16)
    ]


def test_an_include_takes_from_the_grid_what_it_does_not_say(written):
    text = GRID + '[[include]]\nimplementation = "dense"\nin_features = 5\nout_features = 6\n'
    extra = cases(written(text))[8:]
    assert [(c.implementation, c.in_features, c.out_features, c.sparsity) for c in extra] == [
        ("dense", 5, 6, 0.5),
        ("dense", 5, 6, 0.9),
    ]


CONV = GRID.replace("width", "channels") + 'operation = "conv2d"\nimage = [8, 9]\n'


def test_a_grid_of_convolutions(written):
    found = cases(written(CONV + "kernel = [1, 3]\nstride = [1, 2]\n"))
    assert len(found) == 8 * 2 * 2 * 2
    assert {(c.kernel, c.padding) for c in found} == {(1, 0), (3, 1)}  # the size is kept
    assert {(c.in_features, c.out_features) for c in found} == {(8, 8), (16, 16)}
    assert {c.kernel for c in cases(written(CONV))} == {3}
    assert {c.padding for c in cases(written(CONV + "padding = [0, 2]"))} == {0, 2}


def test_channels_may_be_called_what_they_are(written):
    text = CONV + "[[include]]\nin_channels = 4\nout_channels = 6\nstride = 2\ngroups = 2\n"
    extra = cases(written(text))[16:]
    assert {(c.in_features, c.out_features, c.stride, c.groups) for c in extra} == {(4, 6, 2, 2)}
    assert len(extra) == 8
    narrow = cases(written(CONV + '[[exclude]]\nchannels = ">8"\n'))
    assert {c.in_features for c in narrow} == {8}


def test_no_case_comes_twice(written):
    assert len(cases(written(GRID + "[[include]]\nwidth = 8\n"))) == 8


def test_options_replace_threads_and_seed(written):
    found = sweep.load(written(GRID)).changed(threads=[1, 3], seed=7).cases(["cpu"], [2])
    assert {(c.threads, c.seed) for c in found} == {(1, 7), (3, 7)}


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("batch = 4", "batch = 4\nbtach = 5", ("line 6", "grid.btach", "unknown field", "batch")),
        ("[0.5, 0.9]", "[0.5, 1.0]", ("line 4", "grid.sparsity[1] = 1.0", "less than 1")),
        ("[0.5, 0.9]", "[0.5, 90]", ("grid.sparsity[1] = 90", "(a fraction: 0.9 for 90%)")),
        ("[0.5, 0.9]", "-0.1", ("grid.sparsity", "-0.1", "greater than or equal to 0")),
        ("[8, 16]", "[8, 0]", ("line 3", "grid.width[1] = 0", "greater than or equal to 1")),
        ("[8, 16]", "[8.5]", ("grid.width[0] = 8.5", "integer")),
        ("[8, 16]", "[]", ("grid.width", "at least 1")),
        ('"ours"', '"mine"', ("line 2", "grid.implementation[1] = 'mine'", "dense, ", "ours")),
        ('"inference"', '"guess"', ("grid.phase", "'guess'", "train_step")),
        ("batch = 4", "", ("grid.batch", "missing")),
        ("width = [8, 16]", "", ("grid", "width", "in_features and out_features")),
        ("[grid]", "rounds = 0\n[grid]", ("line 1", "rounds = 0", "greater than or equal to 1")),
        ("[grid]", "round = 2\n[grid]", ("line 1", "round = 2", "unknown field", "rounds")),
        ("[grid]", "[grid", ("line 1",)),
        ('"inference"', '"inference"\n[[exclude]]\nsise = 3', ("exclude[0]", "sise", "batch")),
        ('"inference"', '"inference"\ndevice = "gpu"', ("grid.device", "'gpu'", "cpu")),
        ('"inference"', '"inference"\nkernel = 3', ("kernel", "operation", "conv2d")),
        (
            '"inference"',
            '"inference"\noperation = "conv3d"',
            ("'conv3d'", "'conv2d', 'product' or 'k_winners'"),
        ),
        ('"inference"', '"inference"\noperation = "conv2d"', ("grid", "needs image")),
        (
            '"inference"',
            '"inference"\noperation = "conv2d"\nimage = 1\nkernel = 3\npadding = 0',
            ("kernel = 3 does not fit into image = 1 with padding = 0",),
        ),
    ],
)
def test_an_error_names_file_field_value_and_what_is_allowed(written, old, new, parts):
    path = written(GRID.replace(old, new))
    with pytest.raises(InputError) as error:
        sweep.load(path)
    for part in (path, *parts):
        assert part in str(error.value)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(InputError, match=r"no sweep 'nothing': .*default.*headline.*smoke"):
        sweep.load("nothing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("defualt", r"^no sweep 'defualt' \(did you mean default\?\): give a path, or one of"),
        ("mine.tml", "^mine.tml: no such file$"),
        ("sweeps/mine", "^sweeps/mine: no such file$"),
    ],
)
def test_what_was_meant_is_said(name, message):
    with pytest.raises(InputError, match=message):
        sweep.load(name)


@pytest.mark.parametrize("name", sweep.names())
def test_shipped_sweeps_are_valid(name, collection):
    assert cases(name)
    assert sweep.load(name).description


def test_the_default_sweep_asks_what_it_promises():
    found = cases("default")
    assert {c.in_features for c in found} == {512, 1024, 2048, 4096}
    assert {c.sparsity for c in found} == {0.5, 0.8, 0.9, 0.95, 0.98, 0.99}
    assert {c.batch for c in found} == {1, 128}
    every = {"dense", "masked", "torch_coo", "torch_csr", "reference", "ours"}
    stronger = {"dense_onednn", "dense_openblas"}
    assert {c.sparsity for c in found if c.implementation in stronger} == {0.9}
    assert {c.implementation for c in found if c.gradients == "kept"} == {"dense", "ours"}
    assert {c.implementation for c in found} == {*every, *stronger, "rigl", "set"}
    beside = {(c.operation, c.phase) for c in found if c.implementation in ("ours", "rigl")}
    assert beside == {
        ("linear", "inference"), ("linear", "forward_backward"), ("linear", "train_step"),
        ("linear", "rewiring"), ("linear", "construction"), ("k_winners", "forward_backward"),
    }  # fmt: skip


def test_no_awkward_shape_is_asked_for_that_cannot_be_drawn():
    assert [c for c in cases("cliffs") if undrawable(c)] == []


def test_the_headline_is_the_tutorials_example():
    found = cases("headline")
    assert {(c.in_features, c.out_features, c.sparsity, c.batch) for c in found} == {
        (20000, 20000, 0.99, 1)
    }
    assert {c.phase for c in found} == {"inference", "train_step"}


def test_the_conv_sweep_asks_for_the_layers_of_resnet18():
    found = [c for c in cases("conv") if c.kernel == 3 and c.stride == 1]
    asked = {(c.in_features, c.image, c.batch, c.sparsity) for c in found}
    sizes = [(64, 32), (128, 16), (256, 8), (512, 4), (64, 56), (256, 14)]
    assert asked >= {(*s, batch, p) for s in sizes for batch in (16, 64) for p in (0.9, 0.95)}
    every = cases("conv")
    assert {c.operation for c in every} == {"conv2d"}
    assert {1, 3} == {c.kernel for c in every}
    assert {1, 2} == {c.stride for c in every}


def test_the_sweep_of_the_collection_asks_in_both_ways(collection):
    found = cases("dlmc")
    asked = {(c.operation, c.phase, c.batch) for c in found}
    for batch in (1, 32, 128, 512):
        assert {("linear", phase, batch) for phase in ("inference", "forward_backward")} <= asked
        assert ("product", "inference", batch) in asked
    assert {c.size for c in found if c.operation == "conv2d"} == {"1→2 3×3 28²"}
    networks = {c.topology.split("/")[1] for c in found if c.operation == "product"}
    assert networks == {"rn50", "transformer"}
    products = {c.implementation for c in found if c.operation == "product"}
    assert {"dense", "torch_csr", "sparse_dot_mkl", "ours"} <= products


def test_a_product_is_measured_in_inference_alone(written):
    text = GRID.replace('"inference"', '["inference", "train_step"]')
    with pytest.raises(InputError, match="operation product is measured in phase"):
        sweep.load(written(text + 'operation = "product"\n'))
    assert {c.operation for c in cases(written(GRID + 'operation = "product"\n'))} == {"product"}


def test_gradients_and_caches_vary_where_they_say_something(written):
    text = GRID.replace('"inference"', '["inference", "train_step"]')
    text += 'gradients = ["fresh", "kept"]\ncache = ["warm", "cold"]\n'
    both = [("fresh", "warm"), ("fresh", "cold")]
    found = sweep.load(written(text)).cases(["cpu", "cuda"], [2])
    for phase, device, expected in (
        ("inference", "cpu", both),
        ("train_step", "cpu", [*both, ("kept", "warm"), ("kept", "cold")]),
        ("train_step", "cuda", both[:1]),
    ):
        here = [c for c in found if (c.phase, c.device) == (phase, device)]
        assert len(here) == 8 * len(expected)
        assert {(c.gradients, c.cache) for c in here} == set(expected)
