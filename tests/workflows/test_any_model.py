"""Twenty architectures as people have them, small, pruned: sparse, they compute what they did.

Those of torchvision, and of transformers where that is installed, with random weights pruned by
magnitude, each layer alike or by one threshold.
"""

import copy
import warnings

import pytest
import torch
from torch import nn
from torchvision import models

import sparselayers as sl
from sparsebench.errors import InputError
from sparsebench.models import architectures, pruning, variants
from sparselayers.convert.examples import call
from sparselayers.convert.swap import kinds
from sparselayers.convert.transposed import is_transposed
from sparselayers.layer import SparseLayer

CONVOLUTION = models.efficientnet.MBConvConfig
BLOCK = models.convnext.CNBlockConfig
STAGES = models.regnet.BlockParams

IMAGES = {
    "resnet18": lambda: models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5),
    "resnet50": lambda: models.ResNet(
        models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=5, width_per_group=16
    ),
    "vgg11_bn": lambda: nn.Sequential(  # without the 120 million weights behind its features
        models.vgg.make_layers([8, "M", 16, "M"], batch_norm=True),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5)),
    ),
    "mobilenet_v2": lambda: models.MobileNetV2(
        5, width_mult=0.25, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]
    ),
    "efficientnet_b0": lambda: models.EfficientNet(
        [CONVOLUTION(1, 3, 1, 8, 8, 1, 1.0, 1.0), CONVOLUTION(6, 5, 2, 8, 16, 1, 1.0, 1.0)],
        dropout=0.0,
        num_classes=5,
    ),
    "convnext": lambda: models.ConvNeXt([BLOCK(8, 16, 1), BLOCK(16, None, 1)], num_classes=5),
    "densenet": lambda: models.DenseNet(4, (2, 2), 8, num_classes=5),
    "regnet": lambda: models.RegNet(
        STAGES([1, 1], [8, 16], [4, 4], [1.0, 1.0], [2, 2], 0.25), num_classes=5
    ),
    "vit": lambda: models.VisionTransformer(32, 8, 2, 4, 16, 32, num_classes=5),
    "swin": lambda: models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=5),
}

_LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
_TOKENS = {"num_hidden_layers": 1, **_LAYERS}
_SIDE = {"attention_heads": 2, "ffn_dim": 64, "layers": 1}
# What differs from the defaults of transformers' configurations, and the shape of an input.
TRANSFORMERS = {
    "bert": (_TOKENS, (2, 9)),
    "distilbert": ({"dim": 32, "hidden_dim": 64, "n_heads": 2, "n_layers": 1}, (2, 9)),
    "roberta": (_TOKENS, (2, 9)),
    "gpt2": ({"n_embd": 32, "n_head": 2, "n_layer": 1}, (2, 9)),
    "opt": (
        {"hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 2, "num_hidden_layers": 1}
        | {"word_embed_proj_dim": 32},
        (2, 9),
    ),
    "llama": (_TOKENS | {"num_key_value_heads": 2}, (2, 9)),
    "t5": (
        {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_heads": 2}
        | {"num_layers": 1, "num_decoder_layers": 1},
        (2, 9),
    ),
    "vit": (_LAYERS | {"num_hidden_layers": 1, "image_size": 32, "patch_size": 8}, (2, 3, 32, 32)),
    "whisper": (
        {"d_model": 32, "max_source_positions": 8}
        | {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in _SIDE.items()}
        | {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "decoder_start")},
        (2, 80, 16),
    ),
    "mamba": ({"hidden_size": 32, "state_size": 4, "num_hidden_layers": 1}, (2, 9)),
}


def image_model(name):
    torch.manual_seed(0)
    return architectures.Architecture(IMAGES[name](), torch.randn(2, 3, 32, 32))


def transformer(name):
    pytest.importorskip("transformers", reason="transformers is an extra: pip install '.[models]'")
    config, shape = TRANSFORMERS[name]
    words = {} if name == "vit" else {"vocab_size": 50}
    return architectures.make(f"transformers:{name}", shape=shape, config=words | config)


def kinds_in(model):
    every = (*kinds(), nn.MultiheadAttention)
    return tuple(kind for kind in every if any(isinstance(m, kind) for m in model.modules()))


def gradients(model, example):
    """Return the gradient of every parameter, for a loss of all outputs."""
    model.zero_grad()
    sum(y.square().mean() for y in variants.tensors(call(model.eval(), example))).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def close(ours, expected, largest):
    """Compare gradients; of a key's bias all but rounding is zero, so that others say how much."""
    if expected is None:
        assert ours is None
        return
    atol = 1e-4 * float(expected.abs().max()) + 1e-7 * largest
    torch.testing.assert_close(ours, expected, atol=atol, rtol=1e-4)


def check(dense, example, distribution):
    """Convert and sparsify, compare outputs and gradients, and go back."""
    pruning.prune(dense, 0.9, distribution)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    tied = {name for name, p in dense.named_parameters(remove_duplicate=False)} - {
        name for name, _ in dense.named_parameters()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*stays tied to it", UserWarning)
        converted = sl.convert_model(dense, kinds_in(dense), "coo")
    result = sl.sparsify(dense, example, criterion="memory", seconds=0, threshold=0.5)
    assert sum(d.chosen == "sparse" for d in result.decisions) > len(result.decisions) / 2
    expected = gradients(dense, example)
    largest = max(float(g.abs().max()) for g in expected.values() if g is not None)
    for sparse in (converted, result.model):
        assert variants.deviation(sparse, dense, example) < 1e-4
        again = {name for name, p in sparse.named_parameters(remove_duplicate=False)}
        assert len(again) - len(list(sparse.parameters())) == len(tied)
        found = gradients(sparse, example)
        for path, layer in sparse.named_modules():
            if isinstance(layer, SparseLayer) and f"{path}.weight" in expected:
                gradient = expected[f"{path}.weight"]
                if is_transposed(dense.get_submodule(path)):
                    gradient = gradient.t()
                mask = layer.connectivity.mask()
                close(found[f"{path}.weights"], gradient.flatten(1)[mask], largest)
        for name, gradient in found.items():
            if name in expected:
                close(gradient, expected[name], largest)
    assert all(torch.equal(v, before[name]) for name, v in dense.state_dict().items())
    return converted, result


@pytest.mark.parametrize("distribution", ["uniform", "global"])
@pytest.mark.parametrize("name", IMAGES)
def test_networks_of_images(name, distribution):
    made = image_model(name)
    dense = made.model.double()
    converted, _ = check(dense, made.example.double(), distribution)
    back = sl.convert_model(converted, SparseLayer, "dense")
    assert back.state_dict().keys() == dense.state_dict().keys()
    assert all(torch.equal(v, dense.state_dict()[n]) for n, v in back.state_dict().items())
    if name in ("resnet18", "vit") and distribution == "uniform":
        torch.compiler.reset()
        compiled = torch.compile(converted.eval(), backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(made.example.double()), dense(made.example.double()))


# PyTorch warns of what transformers does, and transformers of kernels that are not installed.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name, tmp_path):
    for distribution in ("uniform", "global"):
        made = transformer(name)
        converted, result = check(made.model, made.example, distribution)
    for reason in result.skipped.values():
        assert any(why in reason for why in ("rows up", "are zero", "reads its weight", "shares"))
    back = sl.convert_model(converted, SparseLayer, "dense")
    assert variants.deviation(back, made.model, made.example) < 1e-6
    sl.save_pretrained(converted, tmp_path / "saved")
    loaded = sl.load_pretrained(tmp_path / "saved", copy.deepcopy(made.model))
    assert variants.deviation(loaded, converted, made.example) == 0
    if name in ("bert", "gpt2"):
        torch.compiler.reset()
        compiled = torch.compile(copy.deepcopy(converted), backend="eager")
        assert variants.deviation(compiled, made.model, made.example) < 1e-4


def test_masks_are_the_same_model():
    made = image_model("vit")
    pruning.prune(made.model, 0.9)
    masked = variants.masked(made.model)
    assert variants.deviation(masked, made.model, made.example) < 1e-6
    step = variants.step(masked, made.example, "training")
    step(), step()  # which attention's own projection did not survive under torch.nn.utils.prune
    assert all(torch.isfinite(p).all() for p in masked.parameters())


def test_names_that_are_none():
    pytest.importorskip("transformers")
    for name, message in (
        ("transformers:bertt", "transformers has no model type 'bertt'; it has bert"),
        ("transformers:bert", "its configuration has no 'widht'"),
    ):
        with pytest.raises(InputError, match=message):
            architectures.make(name, shape=(2, 3), config={"widht": 3})


def test_models_of_timm():
    pytest.importorskip("timm")
    made = architectures.make("timm:resnet10t", shape=(2, 3, 32, 32), config={"num_classes": 5})
    pruning.prune(made.model, 0.9)
    sparse = sl.convert_model(made.model, kinds_in(made.model), "csr")
    assert variants.deviation(sparse, made.model, made.example) < 1e-4
    with pytest.raises(InputError, match="timm has no model 'resnet19'; it has res"):
        architectures.make("timm:resnet19")
