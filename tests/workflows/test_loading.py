"""Checkpoints as people have them: whole, in shards, of dense models that were pruned."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.nn.utils import prune

import sparselayers as sl
from tests.workflows.twin import assert_same, model, twin_of

KINDS = {
    "linear": (lambda s: sl.SparseLinear(12, 9, sparsity=s), (4, 12)),
    "conv": (lambda s: sl.SparseConv2d(3, 4, 3, padding=1, sparsity=s), (2, 3, 5, 5)),
}


@pytest.fixture(params=KINDS)
def kind(request):
    build, shape = KINDS[request.param]
    return build, torch.randn(*shape)


def assert_alike(layer, other, x):
    torch.testing.assert_close(layer(x), other(x))
    gradients = [torch.autograd.grad(m(x).square().sum(), m.weights)[0] for m in (layer, other)]
    torch.testing.assert_close(*gradients)


ORDERS = list(itertools.permutations(("weights", "row_ptr", "col")))


@pytest.mark.parametrize("sparsity", [0.5, 0.2], ids=["as many", "more"])
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize("assign", [False, True])
def test_every_array_in_a_shard_of_its_own(kind, order, sparsity, assign):
    build, x = kind
    layer, source = build(0.5), build(sparsity)
    layer(x).sum().backward()
    state = source.state_dict()
    for name in (*order, "bias"):
        given = {name: state[name].clone()}
        answer = layer.load_state_dict(given, strict=False, assign=assign)
        assert answer.unexpected_keys == []
        assert sorted(answer.missing_keys) == sorted(set(state) - {name})
        given[name].fill_(0)  # the loader's memory is the loader's
        if assign:
            given[name].copy_(state[name])
    assert_alike(layer, source, x)


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_shards_that_are_filled_up_with_what_is_there(kind, order):
    """So PyTorch's distributed checkpoints load, and accelerate's load_checkpoint_in_model."""
    build, x = kind
    model, source = nn.Sequential(build(0.5)), build(0.2)
    options = StateDictOptions(full_state_dict=True, strict=False)
    for name in (*order, "bias"):
        shard = {f"0.{name}": source.state_dict()[name].clone()}
        set_model_state_dict(model, shard, options=options)
    assert_alike(model[0], source, x)
    model[0].load_state_dict(model[0].state_dict())
    assert_alike(model[0], source, x)


def test_a_forward_between_the_shards_says_what_is_missing(kind):
    build, x = kind
    layer, state = build(0.5), build(0.2).state_dict()
    layer.load_state_dict({"weights": state["weights"]}, strict=False)
    for use in (lambda: layer(x), layer.state_dict, lambda: copy.deepcopy(layer)):
        with pytest.raises(RuntimeError, match=r"has weights .*waits for row_ptr and col"):
            use()
    layer.load_state_dict({"col": state["col"], "bias": state["bias"]}, strict=False)
    with pytest.raises(RuntimeError, match=r"has weights and col .*waits for row_ptr"):
        layer(x)
    layer.load_state_dict({"row_ptr": state["row_ptr"]}, strict=False)
    layer(x)


def test_a_compiled_layer_says_it_too(kind):
    build, x = kind
    layer = build(0.5)
    compiled = torch.compile(layer, backend="aot_eager")
    compiled(x)
    layer.load_state_dict({"weights": build(0.2).state_dict()["weights"]}, strict=False)
    with pytest.raises(RuntimeError, match=r"has weights .*waits for row_ptr and col"):
        compiled(x)


def test_a_whole_state_ends_the_waiting(kind):
    build, x = kind
    layer, half, whole = build(0.5), build(0.2), build(0.7)
    layer.load_state_dict({"col": half.state_dict()["col"]}, strict=False)
    layer.load_state_dict(whole.state_dict())
    assert_alike(layer, whole, x)
    layer.load_state_dict({"col": half.state_dict()["col"]}, strict=False)
    layer.set_connections(half.connectivity, half.weights.detach())
    layer.bias.data.copy_(half.bias)
    assert_alike(layer, half, x)


def test_shards_that_fit_no_layer_are_refused_with_the_last_one(kind):
    build, x = kind
    layer = build(0.5)
    before, expected = copy.deepcopy(layer.state_dict()), layer(x)
    state = build(0.2).state_dict()
    layer.load_state_dict({"weights": state["weights"]}, strict=False)
    layer.load_state_dict({"row_ptr": state["row_ptr"]}, strict=False)
    with pytest.raises(RuntimeError, match="columns must ascend"):
        layer.load_state_dict({"col": state["col"].flip(0)}, strict=False)
    assert torch.equal(layer(x), expected)
    assert all(torch.equal(layer.state_dict()[name], before[name]) for name in before)


def test_safetensors_in_shards(tmp_path):
    from safetensors.torch import load_file, save_file

    sparse, source = model(20, 30, 10, sparsity=0.8), model(20, 30, 10, sparsity=0.4, seed=3)
    entries = list(source.state_dict().items())
    for number in range(4):
        shard = dict(entries[number::4])
        save_file(shard, tmp_path / f"model-{number + 1}-of-4.safetensors")
    for file in sorted(tmp_path.iterdir()):
        sparse.load_state_dict(load_file(file), strict=False)
    assert_same(sparse, twin_of(source), torch.randn(4, 20))


def test_a_model_without_memory_is_filled_by_shards():
    """As accelerate and transformers do: on the meta device first, then assigned."""
    sparse, source = model(20, 30, 10, sparsity=0.8), model(20, 30, 10, sparsity=0.4, seed=3)
    sparse.to("meta")
    for name, tensor in source.state_dict().items():
        sparse.load_state_dict({name: tensor}, strict=False, assign=True)
    assert_same(sparse, twin_of(source), torch.randn(4, 20))


PRUNED = {
    "pruned": lambda dense: prune.remove(dense, "weight"),
    "being pruned": lambda dense: None,
    "biases too": lambda dense: prune.random_unstructured(dense, "bias", 0.5),
}


@pytest.mark.parametrize("how", PRUNED)
@pytest.mark.parametrize("assign", [False, True])
def test_the_checkpoint_of_a_dense_model_that_was_pruned(kind, how, assign):
    build, x = kind
    layer = build(0.9)
    parameter, dense = layer.weights, layer.to_dense()
    nn.init.normal_(dense.weight)
    prune.random_unstructured(dense, "weight", 0.4)
    PRUNED[how](dense)
    layer.load_state_dict(copy.deepcopy(dense.state_dict()), assign=assign)
    torch.testing.assert_close(layer(x), dense(x))
    assert layer.weights.numel() == dense.weight.count_nonzero()
    assert assign or layer.weights is parameter
    layer(x).sum().backward()
    assert layer.weights.grad.shape == layer.weights.shape


def test_zeros_under_the_mask_are_connections():
    layer, dense = sl.SparseLinear(12, 9), nn.Linear(12, 9)
    prune.random_unstructured(dense, "weight", 0.5)
    nn.init.zeros_(dense.weight_orig)
    layer.load_state_dict(dense.state_dict())
    assert layer.weights.numel() == int(dense.weight_mask.sum())


def test_weight_and_mask_in_shards():
    layer, dense = sl.SparseLinear(12, 9), nn.Linear(12, 9)
    prune.random_unstructured(dense, "weight", 0.5)
    state, x = dense.state_dict(), torch.randn(4, 12)
    layer.load_state_dict({"weight_mask": state.pop("weight_mask")}, strict=False)
    with pytest.raises(RuntimeError, match=r"has weight_mask .*waits for weight_orig"):
        layer(x)
    layer.load_state_dict(state, strict=False)
    torch.testing.assert_close(layer(x), dense(x))


def test_a_dense_checkpoint_that_fits_not_is_refused():
    layer = sl.SparseLinear(12, 9)
    with pytest.raises(RuntimeError, match=r"weight must have the shape \(9, 12\), got \(9, 11\)"):
        layer.load_state_dict(nn.Linear(11, 9).state_dict())
    with pytest.raises(RuntimeError, match="all weights are zero"):
        layer.load_state_dict({"weight": torch.zeros(9, 12), "bias": torch.zeros(9)})


@pytest.fixture
def _swapping():
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.usefixtures("_swapping")
def test_parameters_that_are_swapped(kind):
    build, x = kind
    layer, other = build(0.5), build(0.2)
    parameter, double = layer.weights, copy.deepcopy(layer).to_dense().double()
    layer(x).sum().backward()
    layer.double()
    torch.testing.assert_close(layer(x.double()), double(x.double()))
    layer.float()
    kept = layer(x).sum()  # its graph is alive
    layer.load_state_dict(other.state_dict())
    assert_alike(layer, other, x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()
    del kept
    layer.load_state_dict(build(0.2).state_dict())
    layer.load_state_dict(other.state_dict(), assign=True)
    assert_alike(layer, other, x)
    sl.prune.remove_connections(layer, torch.arange(layer.weights.numel()) % 2 == 0)
    torch.testing.assert_close(layer(x), layer.to_dense()(x))
    layer.to("meta")
    layer.to_empty(device="cpu")
    layer.load_state_dict(other.state_dict())
    assert_alike(layer, other, x)
    assert parameter.numel()


def test_skip_init():
    for kind, sizes, x in (
        (sl.SparseLinear, (12, 9), torch.randn(4, 12)),
        (sl.SparseConv2d, (3, 4, 3), torch.randn(2, 3, 5, 5)),
    ):
        layer = nn.utils.skip_init(kind, *sizes, sparsity=0.5)
        layer.reset_parameters()
        torch.testing.assert_close(layer(x), layer.to_dense()(x))


def test_types_and_memory_formats(kind):
    build, x = kind
    layer = build(0.5)
    dense, mark = layer.to_dense(), layer.topology_id.dtype
    for convert in (
        lambda m: m.type(torch.float64),
        lambda m: m.type("torch.DoubleTensor"),
        lambda m: m.to(torch.float64, memory_format=torch.channels_last),
        lambda m: m.to(memory_format=torch.channels_last).double(),
    ):
        convert(nn.Sequential(layer))
        assert layer.row_ptr.dtype == layer.col.dtype == torch.int32
        assert layer.topology_id.dtype == mark
        torch.testing.assert_close(layer(x.double()), dense.double()(x.double()))
        torch.testing.assert_close(nn.Sequential(layer).float()(x), dense.float()(x))
