"""What transformers and accelerate do with a model, done with a sparse one."""

import copy
import warnings

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparsebench.models import pruning
from sparselayers.convert.swap import kinds

transformers = pytest.importorskip("transformers", reason="an extra: pip install '.[models]'")
pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(0))
ENDS = {"bos_token_id": 0, "eos_token_id": 0}


def pruned(sparsity=0.9):
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=32, n_head=2, n_layer=1, vocab_size=50, **ENDS)
    model = transformers.GPT2LMHeadModel(config).eval()
    pruning.prune(model, sparsity)
    return model


def sparse(model):
    found = tuple(k for k in kinds() if any(isinstance(m, k) for m in model.modules()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the head stays tied to the embedding
        return sl.convert_model(model, found, "csr")


@pytest.mark.parametrize("beams", [1, 2])
def test_generation_with_a_cache(beams):
    dense = pruned()
    options = {"max_new_tokens": 5, "num_beams": beams, "do_sample": False, "pad_token_id": 0}
    expected = dense.generate(TOKENS, **options)
    assert torch.equal(sparse(dense).generate(TOKENS, **options), expected)


def test_gradient_checkpointing():
    dense = pruned().train()
    for module in dense.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    other = sparse(dense)
    other.gradient_checkpointing_enable()
    for model in (dense, other):
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    layer = other.transformer.h[0].mlp.c_fc
    expected = dense.transformer.h[0].mlp.c_fc.weight.grad.t()[layer.connectivity.mask()]
    torch.testing.assert_close(layer.weights.grad, expected)


@pytest.mark.parametrize("kind", ["dict", "BatchEncoding", "tensor"])
def test_examples_as_tokenizers_give_them(kind):
    named = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}
    example = {"dict": named, "BatchEncoding": transformers.BatchEncoding(named), "tensor": TOKENS}
    result = sl.sparsify(pruned(), example[kind], criterion="memory", seconds=0)
    assert len(result.decisions) == 4


def test_tied_weights_after_their_methods():
    model = sparse(pruned())
    model.tie_weights()
    model.resize_token_embeddings(60)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model(TOKENS).logits.shape == (2, 9, 60)


def test_shards_of_accelerate(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    source, model = sparse(pruned()), sparse(pruned(0.5))
    accelerate.Accelerator(cpu=True).save_model(source, tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    accelerate.load_checkpoint_in_model(model, tmp_path)
    torch.testing.assert_close(model(TOKENS).logits, source(TOKENS).logits)


def test_training_with_accelerate(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = sparse(pruned()).train()
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), 1e-2))

    def step():
        accelerator.backward(model(input_ids=TOKENS, labels=TOKENS).loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    accelerator.save_state(tmp_path)
    before = copy.deepcopy(model.state_dict())
    step()
    accelerator.load_state(tmp_path)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())


def test_weights_that_wait_elsewhere():
    accelerate = pytest.importorskip("accelerate")
    model = sparse(pruned())
    expected = model(TOKENS).logits
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    torch.testing.assert_close(model(TOKENS).logits, expected)
