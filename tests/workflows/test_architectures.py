"""Layers of every kind that models have: sparse where there is such a layer, named where not."""

import copy
import sys
import types

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers.convert import convert


def pruned(model, sparsity=0.9):
    """Prune each matrix by magnitude, to no less than one weight."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "weight" in name:
                if not weight.any():  # as torchvision's ViT begins with
                    weight.normal_()
                keep = max(1, round((1 - sparsity) * weight.numel()))
                least = weight.abs().flatten().topk(keep).values[-1]
                weight[weight.abs() < least] = 0
    return model.eval()


class Language(nn.Module):
    """Predicts with its embedding, as GPT-2 and BERT do."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(64, 16)
        self.body = nn.Linear(16, 16)
        self.head = nn.Linear(16, 64, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.body(self.embedding(tokens)))


def test_tied_embeddings_stay_tied():
    model = pruned(Language())
    tokens = torch.arange(6).view(2, 3)
    result = sl.sparsify(model, tokens, criterion="memory", seconds=0, threshold=0.5)
    assert [d.path for d in result.decisions] == ["body"]
    tie = "shares its weight with embedding, and stays tied to it"
    assert result.skipped["head"] == tie
    with pytest.warns(UserWarning, match=f"head {tie}: left as it is"):
        converted = sl.convert_model(model, nn.Linear, "csr")
    for other in (result.model, converted):
        assert isinstance(other.body, sl.SparseLinear)
        assert other.head.weight is other.embedding.weight
        torch.testing.assert_close(other(tokens), model(tokens))


def test_what_has_no_sparse_twin_is_named():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.lstm = nn.Embedding(5, 8), nn.LSTM(8, 8, batch_first=True)
            self.fc, self.pair = nn.Linear(8, 8), nn.Bilinear(8, 8, 2)
            self.up = nn.ConvTranspose1d(3, 3, 2)

        def forward(self, tokens):
            x = self.fc(self.lstm(self.embed(tokens))[0])
            return self.pair(x, x)

    model = pruned(Mixed(), 0.8)
    x = torch.zeros(2, 3, dtype=torch.long)
    skipped = sl.sparsify(model, x, criterion="memory", seconds=0, threshold=0.5).skipped
    assert skipped.keys() == {"embed", "lstm", "pair", "up"}
    assert "looks rows up" in skipped["embed"]
    assert "two inputs" in skipped["pair"]
    assert "recurrent" in skipped["lstm"]
    assert "transposed convolution" in skipped["up"]


class Conv1D(nn.Module):
    """A linear layer with the weight (in, out), written as transformers has it."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


def test_transposed_layers_of_transformers(monkeypatch):
    module = types.ModuleType("transformers.pytorch_utils")
    module.Conv1D = Conv1D
    monkeypatch.setitem(sys.modules, "transformers.pytorch_utils", module)
    model = pruned(nn.Sequential(Conv1D(48, 32), nn.Tanh(), Conv1D(32, 48)))
    model[0].weight.requires_grad_(False)
    x = torch.randn(2, 3, 32)
    result = sl.sparsify(model, x, criterion="memory", seconds=0)
    assert [d.shape for d in result.decisions] == [(48, 32), (32, 48)]
    for sparse in (result.model, sl.convert_model(model, Conv1D, "csr")):
        assert isinstance(sparse[0], sl.SparseLinear)
        assert not sparse[0].weights.requires_grad
        torch.testing.assert_close(sparse(x), model(x))
    dense = sl.convert_model(result.model, sl.SparseLinear, "dense")
    assert torch.equal(dense[2].weight, model[2].weight.t())
    mask = torch.zeros(32, 48, dtype=torch.bool)
    mask[1, 2] = True
    kept = convert(model[0], "csr", mask=mask, keep_zeros=True)
    assert kept.indices.tolist() == [[2], [1]]


SEQUENCES = {
    "plain": {"kernel_size": 3},
    "grouped": {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 2, "groups": 4, "bias": False},
    "same": {"kernel_size": 3, "padding": "same", "dilation": 2},
    "reflected": {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
}


@pytest.mark.parametrize("kind", SEQUENCES)
def test_convolutions_of_sequences(kind):
    torch.manual_seed(0)
    dense = pruned(nn.Conv1d(4, 8, **SEQUENCES[kind]), 0.6).double()
    for target in ("coo", "csr"):
        sparse = convert(dense, target)
        for x in (torch.randn(3, 4, 9, dtype=torch.float64), torch.randn(4, 9).double()):
            twins = [x.clone().requires_grad_(), x.clone().requires_grad_()]
            for layer, given in zip((dense, sparse), twins, strict=True):
                layer.zero_grad()
                layer(given).square().sum().backward()
            torch.testing.assert_close(sparse(x), dense(x))
            torch.testing.assert_close(twins[1].grad, twins[0].grad)
            mask = sparse.connectivity.mask()
            expected = dense.weight.grad.flatten(1)[mask]
            torch.testing.assert_close(sparse.weights.grad, expected)
        back = convert(sparse, "dense")
        assert vars(back).keys() == vars(dense).keys()
        assert (repr(back), torch.equal(back.weight, dense.weight)) == (repr(dense), True)


def test_convolutions_of_sequences_show_the_sizes_that_dense_ones_do():
    """transformers' Whisper reads the strides of its convolutions."""
    dense = nn.Conv1d(4, 8, 3, stride=2, padding=1, dilation=2)
    sparse = convert(dense, "coo")
    for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(sparse, name) == getattr(dense, name)
    assert repr(sparse).startswith(f"Sparse{repr(dense).removesuffix(')')}")


def test_parents_that_reshape_or_multiply_weights():
    """As transformers' Mamba does with a convolution's and with a linear layer's."""
    torch.manual_seed(0)
    for dense in (nn.Conv1d(6, 6, 4, groups=6), nn.Linear(5, 7)):
        pruned(dense, 0.6).double()
        x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
        for target in ("coo", "csr"):
            sparse = convert(dense, target)
            results = []
            for layer in (dense, sparse):
                layer.zero_grad()
                weight = layer.weight
                if isinstance(dense, nn.Linear):
                    y = [weight @ x, torch.matmul(weight, x), weight.view(5, 7)]
                    y.append(weight.unsqueeze(0).expand(2, -1, -1))
                elif target == "coo":
                    y = [weight.squeeze(1), weight.reshape(-1), torch.permute(weight, (2, 0, 1))]
                else:  # CSR has two dimensions
                    y = [weight.reshape(6, 4), weight.reshape(-1)]
                x.grad = None
                sum(each.square().sum() for each in y).backward()
                results.append([*y, x.grad])
            mask = sparse.connectivity.mask()
            torch.testing.assert_close(results[1], results[0])
            torch.testing.assert_close(sparse.weights.grad, dense.weight.grad.flatten(1)[mask])


def test_a_sparse_convolution_of_sequences_by_itself():
    mask = torch.rand(6, 2, 3) < 0.5
    layer = sl.SparseConv1d(2, 6, (3,), padding=(1,), connectivity=mask)
    assert layer.weight.shape == (6, 2, 3)
    assert torch.equal(layer.weight.to_dense() != 0, mask)
    x = torch.randn(3, 2, 7)
    read = nn.functional.conv1d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(read, layer(x))
    again = copy.deepcopy(layer)
    again.load_state_dict(layer.to_dense().state_dict())
    torch.testing.assert_close(again(x), layer(input=x))
    rewirer = sl.RigL(layer, torch.optim.SGD(layer.parameters(), 0.1), update_every=1, stop_after=9)
    layer(x).sum().backward()
    rewirer.step()
    for wrong in ({"kernel_size": (3, 3)}, {"kernel_size": 0}, {"kernel_size": 3, "stride": 1.5}):
        with pytest.raises(ValueError, match=r"kernel_size|stride"):
            sl.SparseConv1d(2, 6, **wrong)
