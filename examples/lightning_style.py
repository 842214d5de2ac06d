"""A training loop in Lightning's style: what to train is in one class, how to loop in another.

    python examples/lightning_style.py [--epochs 3]

The hooks have Lightning's names and arguments, so that the class works as a LightningModule too.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sparselayers as sl

Batch = tuple[Tensor, Tensor]


class Classifier(nn.Module):
    """A sparse network, how it learns, and what happens after each batch."""

    def __init__(self) -> None:
        super().__init__()
        hidden = sl.SparseLinear(64, 256, sparsity=0.9, init="fan_in")
        self.network = nn.Sequential(hidden, nn.ReLU(), nn.Linear(256, 4))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(sl.parameter_groups(self, weight_decay=0.01), lr=3e-3)
        self.rewirer = sl.RigL(self, optimizer, update_every=10, stop_after=75)
        return optimizer

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        x, target = batch
        return nn.functional.cross_entropy(self.network(x), target)

    def on_train_batch_end(self, loss: Tensor, batch: Batch, batch_index: int) -> None:
        self.rewirer.step()  # after the optimizer's step, like a scheduler


def fit(module: Classifier, data: DataLoader[Batch], epochs: int) -> None:
    """Lightning's order of calls."""
    optimizer = module.configure_optimizers()
    for epoch in range(epochs):
        for index, batch in enumerate(data):
            optimizer.zero_grad()
            loss = module.training_step(batch, index)
            loss.backward()
            optimizer.step()
            module.on_train_batch_end(loss.detach(), batch, index)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")


arguments = argparse.ArgumentParser()
arguments.add_argument("--epochs", type=int, default=3)
asked = arguments.parse_args()
torch.manual_seed(0)
x = torch.randn(2048, 64)
data = DataLoader(TensorDataset(x, x[:, :4].argmax(1)), batch_size=64, shuffle=True)
fit(Classifier(), data, asked.epochs)
