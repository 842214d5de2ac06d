"""SparseMultiheadAttention against nn.MultiheadAttention: outputs, gradients, and the way back."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import sparselayers as sl
from sparselayers.convert import convert

L, S, N, E = 5, 4, 3, 8


def pruned(layer, sparsity=0.7):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "weight" in name:
                parameter[torch.rand_like(parameter) < sparsity] = 0
            else:
                parameter.normal_()
    return layer.double()


def inputs(layer, *, same=False, batched=True):
    generator = torch.Generator().manual_seed(1)
    sizes = ((L, E), (L, E), (L, E)) if same else ((L, E), (S, layer.kdim), (S, layer.vdim))
    given = []
    for length, width in sizes:
        shape = (N, length, width) if layer.batch_first else (length, N, width)
        shape = shape if batched else (length, width)
        given.append(torch.randn(shape, generator=generator, dtype=torch.float64))
    return [given[0]] * 3 if same else given


KINDS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "other sizes": {"kdim": 6, "vdim": 7},
    "more keys": {"add_bias_kv": True, "add_zero_attn": True},
}


@pytest.mark.parametrize("need", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_computes_the_same(kind, need):
    dense = pruned(nn.MultiheadAttention(E, 2, **KINDS[kind]))
    sparse = convert(dense, "csr")
    assert all(isinstance(layer, sl.SparseLinear) for layer in sparse.children())
    for batched in (True, False):
        given = inputs(dense, batched=batched)
        for average in (True, False):
            options = {"need_weights": need, "average_attn_weights": average}
            for ours, expected in zip(
                sparse(*given, **options), dense(*given, **options), strict=True
            ):
                assert (ours is None) == (expected is None)
                if ours is not None:
                    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("need", [True, False])
@pytest.mark.parametrize("more", [True, False])
def test_masks(more, need):
    dense = pruned(nn.MultiheadAttention(E, 2, batch_first=True, add_bias_kv=more))
    sparse = convert(dense, "coo")
    given = inputs(dense)
    attn = torch.zeros(L, S, dtype=torch.bool)
    attn[0, 1:] = True
    padding = torch.zeros(N, S, dtype=torch.bool)
    padding[1, 2:] = True
    each = torch.randn(2 * N, L, S, dtype=torch.float64)
    for masks in (
        {"attn_mask": attn},
        {"key_padding_mask": padding},
        {"attn_mask": attn, "key_padding_mask": padding},
        {"attn_mask": each},
    ):
        ours, expected = (m(*given, need_weights=need, **masks)[0] for m in (sparse, dense))
        torch.testing.assert_close(ours, expected)
    causal = nn.Transformer.generate_square_subsequent_mask(L, dtype=torch.float64)
    x = inputs(dense, same=True)
    options = {"attn_mask": causal, "is_causal": True, "need_weights": need}
    if need or not more:  # the hint alone, which PyTorch then uses, would hide the learned key
        torch.testing.assert_close(sparse(*x, **options)[0], dense(*x, **options)[0])
    with pytest.raises(ValueError, match="is_causal is a hint about attn_mask"):
        sparse(*x, is_causal=True)


def test_gradients():
    dense = pruned(nn.MultiheadAttention(E, 2))
    sparse = convert(dense, "csr")
    given = inputs(dense)
    for model in (dense, sparse):
        model(*given)[0].square().sum().backward()
    expected = [*dense.in_proj_weight.grad.chunk(3), dense.out_proj.weight.grad]
    biases = [*dense.in_proj_bias.grad.chunk(3), dense.out_proj.bias.grad]
    for layer, weight, bias in zip(sparse.children(), expected, biases, strict=True):
        torch.testing.assert_close(layer.weights.grad, weight[layer.connectivity.mask()])
        torch.testing.assert_close(layer.bias.grad, bias)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind):
    dense = pruned(nn.MultiheadAttention(E, 2, dropout=0.1, **KINDS[kind])).eval()
    dense.tag = "mine"
    dense.out_proj.requires_grad_(False)
    back = convert(convert(convert(dense, "coo"), "csr"), "dense")
    assert type(back) is nn.MultiheadAttention
    assert vars(back).keys() == vars(dense).keys()
    assert (back.tag, back.dropout, back.training) == ("mine", 0.1, False)
    expected = dict(dense.named_parameters())
    for name, parameter in back.named_parameters():
        assert torch.equal(parameter, expected.pop(name))
        assert parameter.requires_grad == (not name.startswith("out_proj"))
    assert not expected


def test_dropout_and_hooks():
    torch.manual_seed(0)
    dense = nn.MultiheadAttention(E, 2, dropout=0.5)
    calls = []
    dense.register_forward_hook(lambda *_: calls.append(1))
    sparse = convert(dense, "csr", keep_zeros=True)
    x = torch.randn(L, N, E)
    assert not torch.equal(sparse(x, x, x)[0], sparse(x, x, x)[0])
    assert len(calls) == 2
    sparse.eval()
    torch.testing.assert_close(sparse(x, x, x)[0], dense.eval()(x, x, x)[0])


def test_pruned_by_pytorch():
    dense = nn.MultiheadAttention(E, 2)
    prune.l1_unstructured(dense, "in_proj_weight", amount=0.75)
    sparse = convert(dense, "csr")
    assert sum(p.weights.numel() for p in [*sparse.children()][:3]) == 3 * E * E // 4
    kept = convert(dense, "csr", keep_zeros=True)
    assert sum(p.weights.numel() for p in [*kept.children()][:3]) == 3 * E * E // 4
    assert not hasattr(sparse, "in_proj_weight_mask")
    x = torch.randn(L, N, E)
    torch.testing.assert_close(sparse(x, x, x)[0], dense(x, x, x)[0])


def test_in_a_model():
    model = nn.ModuleDict({"a": pruned(nn.MultiheadAttention(E, 2)), "b": nn.Linear(E, E)})
    mask = torch.eye(E, dtype=torch.bool)
    kinds = (nn.Linear, nn.MultiheadAttention)
    model["a"].in_proj_weight.data[:E] = 1
    sparse = sl.convert_model(model, kinds, "csr", masks={"a.q_proj": mask})
    assert sparse["a"].q_proj.connectivity.nnz == E
    back = sl.convert_model(sparse, sl.SparseLinear, "dense")
    assert type(back["a"]) is nn.MultiheadAttention
    assert torch.equal(back["a"].in_proj_weight[:E], torch.eye(E, dtype=torch.float64))
    alone = sl.convert_model(model, nn.Linear, "csr")
    assert type(alone["a"].out_proj) is not sl.SparseLinear
    with pytest.raises(ValueError, match=r"no layer that is converted is called 'a\.x'"):
        sl.convert_model(model, kinds, "csr", masks={"a.x": mask})
    with pytest.raises(ValueError, match="a: q_proj: mask must"):
        sl.convert_model(model, kinds, "csr", masks={"a.q_proj": mask[:2]})
    with pytest.raises(ValueError, match="attention has four weights"):
        sl.convert_model(model, kinds, "csr", masks={"a": mask})


def test_a_projection_of_zeros_stays_dense():
    dense = nn.MultiheadAttention(E, 2)
    dense.in_proj_weight.data[:E] = 0
    sparse = convert(dense, "csr")
    assert [type(p) is nn.Linear for p in sparse.children()] == [True, False, False, False]
    x = torch.randn(L, N, E)
    torch.testing.assert_close(sparse(x, x, x)[0], dense(x, x, x)[0])


def test_sparsify_swaps_projections():
    layer = nn.TransformerEncoderLayer(32, 2, 32, batch_first=True)
    pruned(layer, 0.95).float()
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 32)
    options = {"criterion": "memory", "seconds": 0, "threshold": 0.8}
    result = sl.sparsify(model, x, skip=["layers.1.self_attn"], **options)
    chosen = {d.path for d in result.decisions if d.chosen == "sparse"}
    assert {f"layers.0.self_attn.{p}_proj" for p in ("q", "k", "v", "out")} < chosen
    assert result.skipped["layers.1.self_attn.v_proj"] == "asked to skip"
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention
    assert isinstance(result.model.layers[0].self_attn, sl.SparseMultiheadAttention)
    assert type(result.model.layers[1].self_attn) is nn.MultiheadAttention
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            torch.testing.assert_close(result.model(x), model(x))
            ours = result.model(x, src_key_padding_mask=padding)
            expected = model(x, src_key_padding_mask=padding)
            torch.testing.assert_close(ours[~padding], expected[~padding])


def test_encoders_with_nested_tensors_enabled():
    layer = pruned(nn.TransformerEncoderLayer(E, 2, 8, batch_first=True, dropout=0.0))
    dense = nn.TransformerEncoder(layer, 2).eval()
    sparse = sl.convert_model(dense, nn.MultiheadAttention, "csr")
    x = torch.randn(2, 5, E, dtype=torch.float64)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    with torch.no_grad():
        ours = sparse(x, src_key_padding_mask=padding)
    expected = dense.train()(x, src_key_padding_mask=padding)
    torch.testing.assert_close(ours[~padding], expected[~padding])
    stacked = torch.cat([p.weight.to_dense() for p in [*sparse.layers[0].self_attn.children()][:3]])
    weight = sparse.layers[0].self_attn.in_proj_weight * 1.0
    torch.testing.assert_close(weight, stacked)


def test_compiled():
    torch.compiler.reset()
    dense = pruned(nn.MultiheadAttention(E, 2))
    sparse = torch.compile(convert(dense, "csr"), backend="eager", fullgraph=True)
    x = inputs(dense, same=True)
    torch.testing.assert_close(sparse(*x)[0], dense(*x)[0])


def test_bad_input():
    with pytest.raises(TypeError, match="expected a MultiheadAttention, got a Linear"):
        sl.SparseMultiheadAttention.from_dense(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="on the meta device"):
        convert(nn.MultiheadAttention(E, 2, device="meta"), "csr")
    with pytest.raises(ValueError, match="num_heads = 3 must divide 8"):
        sl.SparseMultiheadAttention(3, *(nn.Linear(E, E) for _ in range(4)))
