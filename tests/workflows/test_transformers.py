"""Transformers after conversion: sparse, and right, in training and in every form of inference."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sparselayers as sl

# PyTorch's encoder makes nested tensors of padded ones, and warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

# A sequence that is shorter than others, as key padding masks say it: True is padding.
PADDING = torch.zeros(3, 6, dtype=torch.bool)
PADDING[0, 4:] = True
X = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def encoder_layer(**options):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0, **options)


def decoder_layer():
    return nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, dropout=0.0)


MODELS = {
    "encoder layer": (encoder_layer, {"src": X}),
    "encoder layer, norm first": (lambda: encoder_layer(norm_first=True), {"src": X}),
    "encoder": (lambda: nn.TransformerEncoder(encoder_layer(), 2), {"src": X}),
    "encoder, padded": (
        lambda: nn.TransformerEncoder(encoder_layer(), 2),
        {"src": X, "src_key_padding_mask": PADDING},
    ),
    "decoder": (lambda: nn.TransformerDecoder(decoder_layer(), 2), {"tgt": X, "memory": X}),
    "transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True),
        {
            "src": X,
            "tgt": X,
            "src_key_padding_mask": PADDING,
            "memory_key_padding_mask": PADDING,
        },
    ),
}
MODES = {
    "train": (True, contextlib.nullcontext),
    "eval": (False, contextlib.nullcontext),
    "no_grad": (False, torch.no_grad),
    "inference_mode": (False, torch.inference_mode),
}


def zeroed(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight[torch.rand_like(module.weight) < 0.8] = 0
            if isinstance(module, nn.MultiheadAttention):
                module.in_proj_weight[torch.rand_like(module.in_proj_weight) < 0.8] = 0
    return model.double()


def some_sparse(model):
    """Only the last layer is sparse, so that the encoder sees nothing but dense ones."""
    return sl.convert_model(model, nn.Linear, "coo", skip=lambda path, _: ".1." not in path)


def outputs(model, given):
    y = model(**given)
    return y.masked_fill(PADDING[..., None], 0.0) if "src_key_padding_mask" in given else y


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MODELS)
def test_sparse_as_dense(name, mode):
    make, given = MODELS[name]
    dense = zeroed(make())
    training, context = MODES[mode]
    sparse = [sl.convert_model(dense, nn.Linear, target) for target in ("coo", "csr")]
    sparse.append(sl.convert_model(dense, (nn.Linear, nn.MultiheadAttention), "csr"))
    if name.startswith("encoder,") or name == "encoder":
        sparse.append(some_sparse(dense))
    for model in (dense, *sparse):
        model.train(training)
    for model in sparse:
        assert any(isinstance(module, sl.SparseLinear) for module in model.modules())
        with context():
            torch.testing.assert_close(outputs(model, given), outputs(dense, given))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_dense_one(name):
    make, given = MODELS[name]
    dense = zeroed(make())
    sparse = sl.convert_model(dense, nn.Linear, "csr")
    for model in (dense, sparse):
        outputs(model, given).square().sum().backward()
    modules = dict(dense.named_modules())
    for path, layer in sparse.named_modules():
        if isinstance(layer, sl.SparseLinear):
            mask = layer.connectivity.mask()
            torch.testing.assert_close(layer.weights.grad, modules[path].weight.grad[mask])
    others = dict(dense.named_parameters())
    for path, parameter in sparse.named_parameters():
        if not path.endswith(".weights"):
            torch.testing.assert_close(parameter.grad, others[path].grad)


def test_sparsify_measures_what_inference_fuses():
    """In evaluation without gradients the fused encoder calls none of its linear layers."""
    dense = zeroed(nn.TransformerEncoder(encoder_layer(), 2)).eval().requires_grad_(False)
    result = sl.sparsify(dense, {"src": X}, threshold=0.1, criterion="memory", seconds=0)
    layers = [f"linear{j}" for j in (1, 2)] + [
        f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")
    ]
    assert {d.path for d in result.decisions} == {
        f"layers.{i}.{layer}" for i in (0, 1) for layer in layers
    }
    assert not result.skipped
    given = {"src": X, "src_key_padding_mask": PADDING}
    torch.testing.assert_close(outputs(result.model, given), outputs(dense, given))


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors(layout):
    sparse = sl.SparseLinear(8, 5, sparsity=0.6, dtype=torch.float64)
    dense = sparse.to_dense()
    sequences = [X[0, :4], X[1], X[2, :1]]
    gradients = []
    for layer in (sparse, dense):
        x = torch.nested.nested_tensor(sequences, layout=layout, requires_grad=True)
        y = layer(x)
        assert y.layout == layout
        torch.cat(y.unbind()).square().sum().backward()
        gradients.append((torch.cat(y.unbind()), torch.cat(x.grad.unbind())))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)
    mask = sparse.connectivity.mask()
    torch.testing.assert_close(sparse.weights.grad, dense.weight.grad[mask])
    torch.testing.assert_close(sparse.bias.grad, dense.bias.grad)


class Reader(nn.Module):
    """A parent that calls none of its layers, but reads their weights, as torchvision's Swin."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 8)
        self.conv = nn.Conv2d(2, 4, 3, groups=2)

    def forward(self, x, images):
        return (
            F.linear(x, self.qkv.weight, self.qkv.bias),
            F.conv2d(images, self.conv.weight, None, stride=2, padding=1, groups=2),
        )


@pytest.mark.parametrize("target", ["coo", "csr"])
def test_parents_that_read_weights(target):
    torch.manual_seed(0)
    dense = zeroed(Reader())
    kinds = (nn.Linear, nn.Conv2d) if target == "coo" else nn.Linear  # CSR has two dimensions
    sparse = sl.convert_model(dense, kinds, target)
    images = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    for x in (X, X[0], X[0, 0]):
        for module in (dense, sparse):
            module.zero_grad()
            sum(y.square().sum() for y in module(x, images)).backward()
        for ours, expected in zip(sparse(x, images), dense(x, images), strict=True):
            torch.testing.assert_close(ours, expected)
        mask = sparse.qkv.connectivity.mask()
        torch.testing.assert_close(sparse.qkv.weights.grad, dense.qkv.weight.grad[mask])
        torch.testing.assert_close(sparse.qkv.bias.grad, dense.qkv.bias.grad)
    if target == "coo":
        mask = sparse.conv.connectivity.mask()
        expected = dense.conv.weight.grad.flatten(1)[mask]
        torch.testing.assert_close(sparse.conv.weights.grad, expected)


def test_swin():
    from torchvision.models.swin_transformer import SwinTransformerBlock, SwinTransformerBlockV2

    x = torch.randn(1, 4, 4, 8, dtype=torch.float64)
    for kind in (SwinTransformerBlock, SwinTransformerBlockV2):
        dense = zeroed(kind(8, 2, [2, 2], [1, 1]))
        sparse = sl.convert_model(dense, nn.Linear, "coo")
        assert isinstance(sparse.attn.qkv, sl.SparseLinear)
        for module in (dense, sparse):
            module(x).square().sum().backward()
        torch.testing.assert_close(sparse(x), dense(x))
        mask = sparse.attn.qkv.connectivity.mask()
        torch.testing.assert_close(sparse.attn.qkv.weights.grad, dense.attn.qkv.weight.grad[mask])


def test_attention_keeps_its_projection():
    dense = zeroed(nn.MultiheadAttention(8, 2, batch_first=True))
    model = nn.ModuleList([dense, zeroed(nn.Linear(8, 8))])
    sparse = sl.convert_model(model, nn.Linear, "csr")
    for training in (True, False):
        model.train(training), sparse.train(training)
        with torch.no_grad():
            torch.testing.assert_close(sparse[0](X, X, X)[0], dense(X, X, X)[0])


@pytest.mark.parametrize("format", ["coo", "csr"])
@pytest.mark.parametrize("training", [True, False])
def test_attention_with_a_sparse_projection(training, format):
    """Conversion makes none; who puts one there gets the right values, in PyTorch's products."""
    dense = zeroed(nn.MultiheadAttention(8, 2, batch_first=True)).train(training)
    sparse = copy.deepcopy(dense)
    sparse.out_proj = sl.SparseLinear.from_dense(dense.out_proj, format=format)
    with torch.no_grad():
        torch.testing.assert_close(sparse(X, X, X)[0], dense(X, X, X)[0])
    for model in (sparse, dense):
        model(X, X, X)[0].square().sum().backward()
    mask = sparse.out_proj.connectivity.mask()
    gradient = dense.out_proj.weight.grad[mask]
    torch.testing.assert_close(sparse.out_proj.weights.grad, gradient)
    torch.testing.assert_close(sparse.in_proj_weight.grad, dense.in_proj_weight.grad)


@pytest.mark.skipif(not hasattr(nn, "LinearCrossEntropyLoss"), reason="new in PyTorch 2.14")
def test_a_loss_keeps_its_layer():
    model = nn.ModuleList([nn.LinearCrossEntropyLoss(8, 4), nn.Linear(3, 3)])
    sparse = sl.convert_model(model, nn.Linear, "coo")
    assert type(sparse[0].linear) is nn.Linear
    assert isinstance(sparse[1], sl.SparseLinear)


@pytest.mark.parametrize("how", ["compile", "export", "trace"])
def test_compiled_exported_and_traced(how):
    dense = zeroed(encoder_layer()).eval()
    sparse = sl.convert_model(dense, nn.Linear, "csr")
    x = X[:2]
    with torch.no_grad():
        if how == "compile":
            torch.compiler.reset()
            other = torch.compile(sparse, backend="eager", fullgraph=True)
        elif how == "export":
            other = torch.export.export(sparse, (x,)).module()
        else:
            with pytest.warns():
                other = torch.jit.trace(sparse, (x,))
        torch.testing.assert_close(other(x), copy.deepcopy(dense)(x), check_stride=False)
