"""Converting a model that somebody else wrote: however it is called, whatever it keeps."""

import copy
import io
import weakref
from collections import UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sparselayers as sl
from sparselayers.convert import convert


def zeroed(layer, sparsity=0.9):
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        layer.weight[torch.rand(layer.weight.shape, generator=generator) < sparsity] = 0
    return layer


def swapped(model, example, **options):
    """sparsify, by memory: the choice does not depend on the machine."""
    options = {"criterion": "memory", "seconds": 0, "threshold": 0.5, **options}
    return sl.sparsify(model, example, **options)


@dataclass
class Batch:
    tokens: Tensor
    scale: float = 1.0


Pair = namedtuple("Pair", ["tokens", "scale"])


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = zeroed(nn.Linear(64, 64))

    def forward(self, tokens, *, scale=1.0):
        return self.fc(input=tokens) * scale


class OfOne(ByName):
    """Takes one argument that holds all the others."""

    def forward(self, batch):
        if isinstance(batch, (dict, UserDict)):
            return self.fc(batch["tokens"]) * batch["scale"]
        return self.fc(batch.tokens) * batch.scale


X = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
FIELDS = {"tokens": X, "scale": 2.0}
EXAMPLES = {
    "tensor": (ByName, X, lambda m: m(X)),
    "arguments": (ByName, (X,), lambda m: m(X)),
    "keywords": (ByName, FIELDS, lambda m: m(**FIELDS)),
    "keywords of a tokenizer": (ByName, UserDict(FIELDS), lambda m: m(**FIELDS)),
    "dict": (OfOne, FIELDS, lambda m: m(FIELDS)),
    "dict in a tuple": (OfOne, (FIELDS,), lambda m: m(FIELDS)),
    "dict by name": (OfOne, {"batch": FIELDS}, lambda m: m(FIELDS)),
    "dataclass": (OfOne, Batch(X), lambda m: m(Batch(X))),
    "named tuple": (OfOne, Pair(X, 2.0), lambda m: m(Pair(X, 2.0))),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_every_kind(name):
    kind, example, call = EXAMPLES[name]
    model = kind()
    result = swapped(model, example)
    (decision,) = result.decisions
    assert (decision.input_shape, decision.chosen) == ((3, 64), "sparse")
    torch.testing.assert_close(call(result.model), call(model))
    converted = sl.convert_model(model, nn.Linear, "csr")
    torch.testing.assert_close(call(converted), call(model))


def test_an_example_that_does_not_fit_says_so():
    with pytest.raises(TypeError, match="positional argument"):
        swapped(ByName(), (X, X, X))


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (sl.SparseLinear(12, 9, sparsity=0.5), torch.randn(2, 12)),
        (sl.SparseConv2d(2, 4, 3, sparsity=0.5), torch.randn(1, 2, 5, 5)),
    ],
)
def test_layers_by_name(layer, x):
    expected = layer(x)
    assert torch.equal(layer(input=x), expected)
    assert torch.equal(layer(x=x), expected)
    for wrong in ({}, {"x": x, "input": x}):
        with pytest.raises(TypeError, match="takes one input, called x or input"):
            layer(**wrong)


class Reading(nn.Module):
    def __init__(self):
        super().__init__()
        self.read = zeroed(nn.Linear(64, 64))
        self.typed = zeroed(nn.Linear(64, 64))
        self.unused = zeroed(nn.Linear(64, 64))

    def forward(self, x):
        x = x.to(self.typed.weight.dtype)  # which is no use of the weight
        return self.typed(F.linear(x, self.read.weight, self.read.bias))


def test_a_weight_that_the_parent_reads_is_reported_as_that():
    result = swapped(Reading(), X)
    assert [d.path for d in result.decisions] == ["typed"]
    assert result.skipped == {
        "read": "its parent reads its weight itself",
        "unused": "the example input does not reach it",
    }


class Auxiliary(nn.Module):
    """Keeps losses, and its last features, until somebody collects them."""

    def __init__(self):
        super().__init__()
        self.fc = zeroed(nn.Linear(64, 64))
        self.losses: list[Tensor] = []
        self.kept: dict[str, list[Tensor]] = {"features": []}
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        y = self.fc(x)
        self.calls += 1
        self.seen += 1
        self.losses.append(y.square().mean())
        self.kept["features"].append(y)
        return y


def test_losses_in_lists():
    model = Auxiliary()
    result = swapped(model, X)
    assert (model.losses, model.kept, model.calls) == ([], {"features": []}, 0)
    assert float(model.seen) == 0
    model(X)  # now there is something with a history, as in the middle of a training
    for other in (swapped(model, X).model, sl.convert_model(model, nn.Linear, "coo")):
        assert [len(other.losses), len(other.kept["features"])] == [1, 1]
        assert torch.equal(other.losses[0], model.losses[0])
        assert not other.losses[0].requires_grad
        other(X)
        assert len(model.losses) == 1
    assert model.losses[0].requires_grad
    torch.testing.assert_close(result.model(X), model(X))


def test_a_layer_of_zeros_stays():
    model = nn.Sequential(zeroed(nn.Linear(8, 8)), nn.Linear(8, 8), nn.Linear(8, 4))
    nn.init.zeros_(model[1].weight)
    with pytest.warns(UserWarning, match="all weights are zero of 1: left as it is"):
        sparse = sl.convert_model(model, nn.Linear, "coo")
    kinds = [type(layer) for layer in sparse]
    assert kinds == [sl.SparseLinear, nn.Linear, sl.SparseLinear]
    x = torch.randn(2, 8)
    torch.testing.assert_close(sparse(x), model(x))
    kept = sl.convert_model(model, nn.Linear, "coo", keep_zeros=True)
    with torch.no_grad():
        kept[1].weights.zero_()
    with pytest.warns(UserWarning, match="left as it is"):
        assert sl.convert_model(kept, sl.SparseLinear, "csr")[1].format == "coo"
    with pytest.raises(ValueError, match="0: no connection remains"):  # which was asked for
        sl.convert_model(model, nn.Linear, "coo", masks={"0": torch.zeros(8, 8).bool()})


def blocks():
    return nn.ModuleDict(
        {
            "encoder": nn.Sequential(zeroed(nn.Linear(64, 64)), zeroed(nn.Linear(64, 64))),
            "head": zeroed(nn.Linear(64, 64)),
        }
    )


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        (["head"], {"head"}),
        ("head", {"head"}),
        (["encoder"], {"encoder.0", "encoder.1"}),
        ({"encoder.1", "head"}, {"encoder.1", "head"}),
        (lambda path, layer: path.endswith("1") and layer.in_features == 64, {"encoder.1"}),
        (lambda *_: True, {"encoder.0", "encoder.1", "head"}),
    ],
)
def test_skip(skip, left):
    model = blocks()
    sparse = sl.convert_model(model, nn.Linear, "coo", skip=skip)
    assert {n for n, m in sparse.named_modules() if isinstance(m, nn.Linear)} == left

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = model["encoder"], model["head"]

        def forward(self, x):
            return self.head(self.encoder(x))

    assert swapped(Chain(), X, skip=skip).skipped == dict.fromkeys(left, "asked to skip")


@pytest.mark.parametrize("function", [sl.convert_model, swapped])
def test_bad_skip(function):
    arguments = (nn.Linear, "coo") if function is sl.convert_model else (X,)
    with pytest.raises(ValueError, match=r"the model has no Linear.* 'body' to skip"):
        function(blocks(), *arguments, skip=["body"])
    with pytest.raises(TypeError, match="skip must be paths of modules, or a function"):
        function(blocks(), *arguments, skip=3)


def export(module, state, prefix, _):
    state[f"{prefix}version"] = torch.tensor(2)


class Wired(nn.Module):
    """A layer with all that may be given to one, and several ways to it."""

    def __init__(self):
        super().__init__()
        self.fc = zeroed(nn.Linear(64, 64))
        self.alias = [self.fc, {"deep": (self.fc, 1)}]
        self.fc.lr_scale = 0.5
        self.fc.owner = self.alias
        self.fc.weight.no_decay = True
        self.fc.register_buffer("usage", torch.ones(3), persistent=False)
        self.fc.adapter = nn.Linear(64, 2)
        self.calls: list[str] = []
        self.fc.register_forward_hook(self.remember)
        self.fc.register_full_backward_hook(lambda *_: self.calls.append("backward"))
        self.fc.register_state_dict_post_hook(export)
        self.fc.register_load_state_dict_pre_hook(self.read)

    def remember(self, *_):
        self.calls.append("forward")

    def read(self, module, state, prefix, *_):
        self.calls.append(f"read {type(module).__name__} {int(state.pop(f'{prefix}version'))}")

    def forward(self, x):
        return self.fc(x) + self.alias[0](x)


def check_wired(model, kind):
    fc = model.fc
    assert type(fc) is kind
    assert model.alias[0] is fc is model.alias[1]["deep"][0]
    assert (fc.lr_scale, fc.owner) == (0.5, model.alias)
    assert fc.owner is model.alias
    weights = fc.weights if isinstance(fc, sl.SparseLinear) else fc.weight
    assert weights.no_decay
    assert torch.equal(fc.usage, torch.ones(3))
    assert isinstance(fc.adapter, nn.Linear)
    assert model.calls == []
    state = model.state_dict()
    assert "fc.usage" not in state
    assert int(state["fc.version"]) == 2
    model.load_state_dict(state)
    assert model.calls == [f"read {kind.__name__} 2"]
    model(X.clone().requires_grad_())
    assert model.calls[1:] == ["forward", "forward"]
    model.calls.clear()


@pytest.mark.parametrize("inplace", [False, True])
def test_all_that_was_given_to_a_layer_follows(inplace):
    model = Wired()
    expected = model(X)
    model.calls.clear()
    # The adapter and layers inside of layers are not looked for.
    skip = ["fc.adapter"]
    sparse = sl.convert_model(model, nn.Linear, "coo", inplace=inplace, skip=skip)
    assert (sparse is model) == inplace
    check_wired(sparse, sl.SparseLinear)
    torch.testing.assert_close(sparse(X), expected)
    sparse.calls.clear()
    dense = sl.convert_model(sparse, sl.SparseLinear, "dense", inplace=inplace)
    check_wired(dense, nn.Linear)
    torch.testing.assert_close(dense(X), expected)
    dense.calls.clear()
    result = swapped(dense, X, skip=skip, inplace=inplace)
    assert (result.model is dense) == inplace
    result.model.calls.clear()
    check_wired(result.model, sl.SparseLinear)


def test_one_layer_alone():
    layer = zeroed(nn.Linear(8, 8))
    layer.tag = tag = object()
    layer.register_load_state_dict_post_hook(lambda module, _: found.append(module))
    found: list[nn.Module] = []
    sparse = convert(convert(layer, "coo"), "csr")
    assert sparse.tag is tag
    sparse.load_state_dict(sparse.state_dict())
    assert found == [sparse]
    reference = weakref.ref(layer)
    del layer
    assert reference() is None


def test_in_place_is_all_or_nothing():
    model = nn.Sequential(zeroed(nn.Linear(8, 8)), nn.utils.skip_init(nn.Linear, 8, 8))
    model[1] = nn.Linear(8, 8, device="meta")
    with pytest.raises(ValueError, match="1: the Linear is on the meta device"):
        sl.convert_model(model, nn.Linear, "coo", inplace=True)
    assert type(model[0]) is nn.Linear
    layer = zeroed(nn.Linear(64, 64))
    with pytest.raises(ValueError, match="the model itself is a layer"):
        sl.convert_model(layer, nn.Linear, "coo", inplace=True)
    with pytest.raises(ValueError, match="the model itself is a layer"):
        swapped(layer, X, inplace=True)


def test_converted_models_are_pickled_and_copied():
    sparse = sl.convert_model(Reading(), nn.Linear, "coo")
    file = io.BytesIO()
    torch.save(sparse, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(sparse)):
        torch.testing.assert_close(other(X), sparse(X))


def test_layers_that_rewire_themselves_are_called_by_name():
    layer = sl.SparseLinear(12, 9, sparsity=0.5, dynamic=True, deltaT=1, alpha=0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.connectivity
    layer(input=torch.randn(4, 12)).square().sum().backward()
    optimizer.step()
    assert not layer.connectivity.equals(before)
