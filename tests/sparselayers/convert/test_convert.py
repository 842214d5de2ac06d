"""convert and convert_model: what comes out computes the same, and what went in is unchanged."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import sparselayers as sl
from sparselayers.convert import convert, convert_model


def sparsened(layer, sparsity=0.7):
    """Set most weights of a dense layer to zero."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        layer.weight[torch.rand(layer.weight.shape, generator=generator) < sparsity] = 0
    return layer


DENSE = {
    "linear": lambda **k: sparsened(nn.Linear(12, 7, **k)),
    "conv": lambda **k: sparsened(
        nn.Conv2d(4, 6, (3, 2), 2, (1, 0), 1, 2, padding_mode="circular", **k)
    ),
}
INPUT = {"linear": (5, 12), "conv": (3, 4, 8, 9)}
KINDS = {"linear": sl.SparseLinear, "conv": sl.SparseConv2d}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", DENSE)
def test_every_direction(kind, bias):
    dense = DENSE[kind](bias=bias, dtype=torch.float64)
    x = torch.randn(INPUT[kind], dtype=torch.float64)
    starts = [dense, convert(dense, "coo"), convert(dense, "csr")]
    for start in starts:
        for target in ("dense", "coo", "csr"):
            there = convert(start, target)
            torch.testing.assert_close(there(x), dense(x))
            assert (there.bias is None) == (not bias)
            assert type(there) is (type(dense) if target == "dense" else KINDS[kind])
            if target == "dense":
                assert torch.equal(there.weight, dense.weight)
            else:
                assert there.weights.numel() == int((dense.weight != 0).sum())
                layout = torch.sparse_coo if target == "coo" else torch.sparse_csr
                assert there.weight.layout == layout
                there(x).sum().backward()
                assert there.weights.grad is not None
            assert not set(there.parameters()) & set(start.parameters())


@pytest.mark.parametrize("kind", DENSE)
def test_flags_types_and_hooks_follow(kind):
    dense = DENSE[kind](dtype=torch.bfloat16).eval()
    dense.weight.requires_grad_(False)
    calls = []
    dense.register_forward_hook(lambda *_: calls.append("forward"))
    dense.register_forward_pre_hook(lambda *_, **__: calls.append("before"), with_kwargs=True)
    dense.register_full_backward_hook(lambda *_: calls.append("backward"))
    sparse = convert(dense, "coo")
    for layer in (sparse, convert(sparse, "csr"), convert(sparse, "dense")):
        weight = layer.weight if isinstance(layer, type(dense)) else layer.weights
        assert not weight.requires_grad
        assert layer.bias.requires_grad
        assert weight.dtype == torch.bfloat16
        assert not layer.training
        calls.clear()
        layer(torch.randn(INPUT[kind], dtype=torch.bfloat16, requires_grad=True)).sum().backward()
        assert calls == ["before", "forward", "backward"]


@pytest.mark.parametrize("name", ["lora_rank", "alpha", "Tend"])
@pytest.mark.parametrize("kind", DENSE)
def test_attributes_that_somebody_gave_a_layer_follow(kind, name):
    dense = DENSE[kind]()
    setattr(dense, name, 3)
    back = convert(convert(convert(dense, "coo"), "csr"), "dense")
    assert getattr(back, name) == 3
    assert vars(back).keys() == vars(dense).keys()


def test_zeros_are_dropped_or_kept():
    dense = sparsened(nn.Linear(6, 5))
    there = int((dense.weight != 0).sum())
    assert convert(dense, "coo").weights.numel() == there
    full = convert(dense, "coo", keep_zeros=True)
    assert full.weights.numel() == 30
    assert convert(full, "csr", keep_zeros=True).weights.numel() == 30
    assert convert(full, "csr").weights.numel() == there
    assert torch.equal(convert(full, "dense").weight, dense.weight)


@pytest.mark.parametrize("kind", DENSE)
def test_a_mask_chooses(kind):
    dense = DENSE[kind]()
    mask = torch.rand(dense.weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    expected = dense.weight * mask
    for start in (dense, convert(dense, "coo")):
        for target in ("dense", "coo", "csr"):
            there = convert(start, target, mask=mask)
            assert torch.equal(convert(there, "dense").weight, expected)
    kept = convert(dense, "coo", mask=mask, keep_zeros=True)
    assert kept.weights.numel() == int(mask.sum())


def test_methods_on_layers():
    dense = sparsened(nn.Linear(6, 5))
    sparse = sl.SparseLinear.from_dense(dense, format="csr")
    assert sparse.format == "csr"
    assert torch.equal(sparse.to_dense().weight, dense.weight)
    conv = sparsened(nn.Conv2d(3, 4, 3, padding="same"))
    assert torch.equal(sl.SparseConv2d.from_dense(conv).to_dense().weight, conv.weight)
    with pytest.raises(TypeError, match="expected a Linear, got a Conv2d"):
        sl.SparseLinear.from_dense(conv)
    with pytest.raises(ValueError, match="format must be one of coo, csr, got 'bsr'"):
        sl.SparseLinear.from_dense(dense, format="bsr")


def test_conversion_draws_no_random_numbers():
    dense = sparsened(nn.Linear(6, 5))
    state = torch.get_rng_state()
    convert(convert(dense, "coo"), "dense")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("kind", DENSE)
def test_pruned_by_pytorch(kind, removed):
    dense = DENSE[kind]()
    prune.l1_unstructured(dense, "weight", amount=0.8)
    prune.random_unstructured(dense, "bias", amount=1)
    x = torch.randn(INPUT[kind])
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)
    dense(x).sum().backward()
    optimizer.step()  # dense.weight is stale until the next forward
    if removed:
        prune.remove(dense, "weight")
        prune.remove(dense, "bias")
    sparse = convert(dense, "csr")
    torch.testing.assert_close(sparse(x), dense(x))
    assert not sparse._forward_pre_hooks
    assert sparse.weights.numel() == int((dense.weight != 0).sum())
    if not removed:
        mask = dense.weight_mask
        assert convert(dense, "csr", keep_zeros=True).weights.numel() == int(mask.sum())


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_parametrized():
    dense = sparsened(nn.Linear(6, 5))
    parametrize.register_parametrization(dense, "weight", Doubled())
    x = torch.randn(3, 6)
    torch.testing.assert_close(convert(dense, "coo")(x), dense(x))
    normed = parametrizations.weight_norm(sparsened(nn.Conv2d(3, 4, 3)))
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(convert(normed, "coo")(x), normed(x))


class Branches(nn.Module):
    """Everything a model may do to hide its layers."""

    def __init__(self):
        super().__init__()
        self.shared = sparsened(nn.Linear(8, 8))
        self.blocks = nn.ModuleDict({"a": nn.Sequential(self.shared, nn.ReLU()), "b": self.shared})
        self.stem = nn.ModuleList([nn.ModuleList([sparsened(nn.Conv2d(1, 2, 3, padding=1))])])
        self.norm = nn.BatchNorm1d(8)
        self.unregistered = [self.shared]
        self.seen = []
        self.shared.register_forward_hook(self.remember)

    def remember(self, *_):
        self.seen.append(1)

    def forward(self, x):
        x = self.stem[0][0](x[:, None]).mean((1, 2))
        return self.norm(self.blocks["a"](x) + self.blocks["b"](x) + self.unregistered[0](x))


class Derived(Branches):
    pass


def test_models_of_any_depth():
    # In float64: the normalisation over four samples magnifies what float32 rounds.
    model = Derived().double()
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(4, 5, 8, dtype=torch.float64)
    expected = copy.deepcopy(model)(x)
    sparse = convert_model(model, (nn.Linear, nn.Conv2d), "coo")
    assert type(sparse) is Derived
    torch.testing.assert_close(sparse(x), expected)
    assert isinstance(sparse.shared, sl.SparseLinear)
    assert sparse.shared is sparse.blocks["a"][0] is sparse.blocks["b"] is sparse.unregistered[0]
    assert isinstance(sparse.stem[0][0], sl.SparseConv2d)
    assert len(sparse.seen) == 3
    assert model.seen == []
    assert type(model.shared) is nn.Linear
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    only_linear = convert_model(model, nn.Linear, "csr")
    assert type(only_linear.stem[0][0]) is nn.Conv2d
    back = convert_model(sparse, (sl.SparseLinear, sl.SparseConv2d), "dense")
    assert back.state_dict().keys() == before.keys()
    torch.testing.assert_close(back(x), expected)


def test_the_model_itself_may_be_a_layer():
    assert isinstance(convert_model(sparsened(nn.Linear(4, 3)), nn.Linear, "coo"), nn.Module)


def test_masks_by_path():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    mask = torch.eye(3, 4).bool()
    sparse = convert_model(model, nn.Linear, "coo", masks={"0": mask})
    assert (sparse[0].weights.numel(), sparse[1].weights.numel()) == (3, 6)
    with pytest.raises(ValueError, match="no layer that is converted is called '2'"):
        convert_model(model, nn.Linear, "coo", masks={"2": mask})


def test_a_pruned_model_keeps_the_layers_that_are_not_converted():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 3))
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", 0.5)
    x = torch.randn(2, 1, 5, 5)
    expected = model(x)  # now the weights have a history, and cannot be deep-copied
    sparse = convert_model(model, nn.Linear, "coo")
    torch.testing.assert_close(sparse(x), expected)


def test_attention_reads_its_projection_itself():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    x = torch.randn(2, 3, 8)
    sparse = convert_model(model, nn.Linear, "coo")
    assert isinstance(sparse.linear1, sl.SparseLinear)
    torch.testing.assert_close(sparse(x), model(x))


def test_shared_parameters_are_announced():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.warns(UserWarning, match="0 and 1 share a parameter"):
        convert_model(model, nn.Linear, "coo")


def test_converted_models_are_saved_and_copied():
    model = convert_model(nn.Sequential(sparsened(nn.Conv2d(1, 2, 3))), nn.Conv2d, "csr")
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(model)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(1, 1, 4, 4)
    assert torch.equal(other(x), model(x))


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_bad_input():
    linear = sparsened(nn.Linear(4, 3))
    sparse = convert(linear, "coo")
    for layer in (linear, sparse):
        with pytest.raises(ValueError, match="target must be one of dense, coo, csr, got 'csc'"):
            convert(layer, "csc")
        with pytest.raises(ValueError, match=r"mask must have the weight's shape \(3, 4\)"):
            convert(layer, "csr", mask=torch.ones(4, 3, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"mask must be a boolean tensor, got torch\.float32"):
            convert(layer, "csr", mask=torch.ones(3, 4))
        with pytest.raises(ValueError, match="no connection remains"):
            convert(layer, "csr", mask=torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(TypeError, match="cannot convert a ReLU: expected Linear, Conv2d, Sparse"):
        convert(nn.ReLU(), "coo")
    with pytest.raises(TypeError, match="cannot convert a Scaled with a forward of its own"):
        convert(Scaled(4, 3), "coo")
    with pytest.raises(ValueError, match="meta device"):
        convert(nn.Linear(4, 3, device="meta"), "coo")
    with pytest.raises(ValueError, match="all weights are zero"):
        convert(nn.utils.skip_init(nn.Linear, 4, 3).requires_grad_(False).apply(_zero), "coo")


def _zero(layer):
    layer.weight.zero_()


def test_bad_models_name_the_path():
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"scaled": Scaled(4, 4)}))
    with pytest.raises(TypeError, match=r"1\.scaled: cannot convert a Scaled"):
        convert_model(model, nn.Linear, "coo")
    assert type(model[0]) is nn.Linear
    with pytest.raises(ValueError, match="the model has no layer of type Conv2d"):
        convert_model(model, nn.Conv2d, "coo")
    with pytest.warns(FutureWarning):
        normed = nn.utils.weight_norm(nn.Linear(4, 4))
    with pytest.raises(TypeError, match="made by a hook"):
        convert_model(nn.Sequential(normed), nn.Linear, "coo")
