"""A Hugging Face Trainer, a small BERT made sparse, and a callback that rewires it.

pip install transformers accelerate
python examples/hugging_face.py [--steps 20]
"""

import argparse
import tempfile

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import sparselayers as sl


class Rewire(TrainerCallback):
    """Rewires a model's sparse layers after each step of its optimizer."""

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.rewirer = sl.SET(model, optimizer, update_every=5, stop_after=state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        self.rewirer.step()


arguments = argparse.ArgumentParser()
arguments.add_argument("--steps", type=int, default=20)
asked = arguments.parse_args()

torch.manual_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
dense = BertForSequenceClassification(BertConfig(vocab_size=100, num_hidden_layers=2, **sizes))
masks = {  # what is kept of the layers of both blocks, at random: a pruned model needs no masks
    name: torch.rand_like(layer.weight) < 0.2
    for name, layer in dense.named_modules()
    if isinstance(layer, nn.Linear) and "encoder" in name
}
model = sl.convert_model(dense, nn.Linear, "csr", masks=masks, skip=["bert.pooler", "classifier"])
layer = model.bert.encoder.layer[0].intermediate.dense
before = layer.connectivity

tokens = torch.randint(100, (256, 16))
data = [{"input_ids": row, "labels": int(row[0] > 50)} for row in tokens]
with tempfile.TemporaryDirectory() as folder:
    settings = TrainingArguments(folder, max_steps=asked.steps, report_to=[], use_cpu=True)
    Trainer(model, settings, train_dataset=data, callbacks=[Rewire()]).train()
assert layer.connectivity.nnz == before.nnz
print(f"as many connections, others: {not layer.connectivity.equals(before)}")
