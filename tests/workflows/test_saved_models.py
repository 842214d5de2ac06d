"""A sparsified model is saved, and comes back without its dense original's weights."""

import json
import shutil

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import sparselayers as sl

pytest.importorskip("safetensors")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 8)
        self.head = nn.Linear(8, 16, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.norm(self.conv(self.embedding(tokens).transpose(1, 2))).transpose(1, 2)
        return self.head(self.fc(self.attention(x, x, x, need_weights=False)[0]))


KINDS = (nn.Conv1d, nn.MultiheadAttention, nn.Linear)
TOKENS = torch.arange(12).view(2, 6)


def sparse_net(**options):
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[torch.rand_like(parameter) < 0.8] = 0
    model(TOKENS)  # the norm's averages
    with pytest.warns(UserWarning, match="stays tied"):
        sparse = sl.convert_model(model, KINDS, "csr", **options)
    return sparse.eval()


@pytest.fixture
def saved(tmp_path):
    model = sparse_net()
    sl.save_pretrained(model, tmp_path / "model")
    return model, tmp_path / "model"


def meta():
    with torch.device("meta"):
        return Net()


@pytest.mark.parametrize("make", [Net, meta, sparse_net])
def test_comes_back(saved, make):
    model, folder = saved
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    dense = make()
    before = {n: type(m) for n, m in dense.named_modules()}
    for architecture in (dense, make):
        again = sl.load_pretrained(folder, architecture).eval()
        expected = {n: type(m) for n, m in model.named_modules() if n != "attention.out_proj"}
        assert {n: type(m) for n, m in again.named_modules() if n in expected} == expected
        assert torch.equal(again(TOKENS), model(TOKENS))
        assert again.head.weight is again.embedding.weight
        assert again.fc.format == "csr"
        assert all(p.requires_grad for p in again.parameters())
        assert again.state_dict().keys() == model.state_dict().keys()
    assert {n: type(m) for n, m in dense.named_modules()} == before
    again(TOKENS).sum().backward()
    assert again.fc.weights.grad.shape == again.fc.weights.shape


def test_dense_layers_that_were_being_pruned(tmp_path):
    """sparsify leaves masks of torch.nn.utils.prune where a layer stays dense."""

    def build():
        return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))

    model = build()
    for layer in model:
        prune.l1_unstructured(layer, "weight", 0.5)
    sparse = sl.convert_model(model, nn.Linear, "csr", skip="1")
    sl.save_pretrained(sparse, tmp_path)
    x = torch.randn(3, 8)
    again = sl.load_pretrained(tmp_path, build)
    assert torch.equal(again(x), sparse(x))
    assert again[1].weight.count_nonzero() == 16
    assert again[1].weight.requires_grad
    with_masks = build()  # an architecture that has masks too takes them
    prune.l1_unstructured(with_masks[1], "weight", 0.25)
    kept = sl.load_pretrained(tmp_path, with_masks)
    assert torch.equal(kept[1].weight_mask, model[1].weight_mask)


def test_partly_sparse_and_another_type(tmp_path):
    model = sparse_net(skip=["fc"]).double()
    model.attention.v_proj = model.attention.v_proj.to_dense()
    sl.save_pretrained(model, tmp_path)
    for make in (Net, meta):
        again = sl.load_pretrained(tmp_path, make).eval()
        assert type(again.fc) is type(again.attention.v_proj) is nn.Linear
        assert again.fc.weight.dtype == torch.float64
        assert torch.equal(again(TOKENS), model(TOKENS))


def test_one_layer(tmp_path):
    layer = sl.SparseConv2d(2, 4, 3, sparsity=0.5)
    sl.save_pretrained(layer, tmp_path)
    again = sl.load_pretrained(tmp_path, nn.Conv2d(2, 4, 3))
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(again(x), layer(x))


def test_it_is_written_over_whole(saved, monkeypatch):
    model, folder = saved
    before = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        sl.save_pretrained(model, folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert len([*folder.iterdir()]) == 2


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


WRONG = {
    "no folder": (shutil.rmtree, "no saved sparse model: it has no config.json"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), "it has no model.safetensors"),
    "a checkpoint": (lambda f: torch.save({}, f / "model.safetensors"), "no safetensors file"),
    "cut": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-9]
        ),
        "no safetensors file, or cut",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is no JSON"),
    "another's": (lambda f: change(f, kind="bert"), "describes no sparselayers model"),
    "later": (lambda f: change(f, version=2), "version 2; this library reads 1"),
    "half": (lambda f: change(f, layers=None), "layers is missing, or no dict"),
    "a layer of nothing": (lambda f: change(f, layers={"fc": 3}), "'fc' must have kind, shape"),
    "unknown": (
        lambda f: change(f, layers={"fc": {"kind": "os.system", "shape": [8, 8], "format": "csr"}}),
        r"fc is of an unknown kind 'os\.system'",
    ),
    "a lost layer": (lambda f: change(f, layers={}, attention=[]), "fit this architecture"),
    "untied": (lambda f: change(f, shared={}), r"head\.weight"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(saved, name):
    _, folder = saved
    spoil, message = WRONG[name]
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        sl.load_pretrained(folder, Net())


def test_another_architecture(saved, tmp_path):
    _, folder = saved
    other = Net()
    other.fc = nn.Linear(8, 9)
    with pytest.raises(ValueError, match=r"fc is a Linear of shape \(9, 8\) there, and a Sparse"):
        sl.load_pretrained(folder, other)
    other = Net()
    other.attention = nn.Identity()
    with pytest.raises(ValueError, match="attention is no MultiheadAttention"):
        sl.load_pretrained(folder, other)
    other = Net()
    other.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"extra\.weight is not in model\.safetensors"):
        sl.load_pretrained(folder, other)
    other = Net()
    del other.conv
    with pytest.raises(ValueError, match="it has no layer 'conv'"):
        sl.load_pretrained(folder, other)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="no sparse layers"):
        sl.save_pretrained(nn.Linear(2, 2), tmp_path / "x")
    with pytest.raises(ValueError, match="on the meta device"):
        sl.save_pretrained(sparse_net().to("meta"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_without_safetensors_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sparselayers.saved.find_spec", lambda name: None)
    layer = sl.SparseLinear(4, 4, sparsity=0.5)
    with pytest.raises(ImportError, match="need safetensors: pip install safetensors"):
        sl.save_pretrained(layer, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
