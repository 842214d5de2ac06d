# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The SparseLinear tutorial, on these layers
#
# [SparseLinear](https://github.com/hyeon95y/SparseLinear) came with a notebook that trained one
# network on MNIST in seven ways, and this project began with it. Here is each of its sections with
# the layers of `sparselayers`: connections at random, connections of your own, RigL, small worlds,
# sparse activations, a very wide network, and what a large layer costs.
#
# It trains on 10,000 digits that come with the project, for three epochs: minutes on a laptop. The
# published table, on all of MNIST and with the published settings, is `sparsebench train mnist`.

# %%
import os
import time

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn

import sparselayers as sl
from sparsebench.training.datasets import digits

QUICK = "NOTEBOOK_QUICK" in os.environ  # the tests run a part of everything
torch.manual_seed(0)

data = digits.subset()
used = 640 if QUICK else len(data.train_labels)
images, labels = data.train_images[:used], data.train_labels[:used]
print(f"{used:,} digits of {images.shape[1]} pixels to train on, {len(data.test_labels):,} to test")

# %% [markdown]
# ## One network
#
# 784 pixels, 2,000 hidden units, ten classes, with layer normalisation between: `build` is given
# what makes a layer, and what the activation is. `train` is the usual loop.

# %%
WIDTH = 200 if QUICK else 2000


def build(layer, activation=nn.ReLU):
    """The tutorial's network, of layers that `layer(inputs, outputs)` makes."""
    return nn.Sequential(
        layer(784, WIDTH), nn.LayerNorm(WIDTH), activation(), nn.LayerNorm(WIDTH), layer(WIDTH, 10)
    )


def train(model, *, epochs=1 if QUICK else 3, lr=0.03, rewirer=None, batch=64):
    """Return the accuracy after each epoch, in percent, and the seconds of training."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    rewirer = rewirer and rewirer(model, optimizer)
    accuracies, seconds = [], 0.0
    for _ in range(epochs):
        start = time.perf_counter()
        model.train()
        for chosen in torch.randperm(used).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            if rewirer:
                rewirer.step()
        seconds += time.perf_counter() - start
        model.eval()
        with torch.inference_mode():
            right = model(data.test_images).argmax(1) == data.test_labels
        accuracies.append(100 * right.float().mean().item())
    return accuracies, seconds


rows = {}


def note(name, model, **how):
    """Train `model`, and keep what came out under `name`."""
    accuracies, seconds = train(model, **how)
    parameters = sum(p.numel() for p in model.parameters())
    rows[name] = {"parameters": parameters, "seconds": seconds, "accuracies": accuracies}
    print(f"{name}: {accuracies[-1]:.1f}%, {parameters:,} parameters, {seconds:.1f} s")


note("dense", build(nn.Linear))

# %% [markdown]
# ## Sparse layers
#
# `sl.SparseLinear` stands where `nn.Linear` did. It draws round((1 − sparsity) · in · out)
# connections, and neither stores nor multiplies the others.

# %%


def sparse(inputs, outputs, **how):
    """A layer of which 90% is not there."""
    return sl.SparseLinear(inputs, outputs, sparsity=0.9, **how)


model = build(sparse)
print(model)
note("sparse", model)

# %% [markdown]
# ## Connections of your own
#
# Edges are two rows of integers, outputs above inputs; a boolean mask of shape (out, in) works too.
# Here every hidden unit sees one patch of 9 × 9 pixels, at a place of its own.

# %%


def patches(inputs, outputs, side=9):
    """Each output sees a square of pixels; the last layer, which has no pixels, is random."""
    if inputs != 784:
        return sparse(inputs, outputs)
    corner = torch.randint(28 - side + 1, (outputs, 2, 1, 1))
    down, right = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    pixels = (corner[:, 0] + down) * 28 + corner[:, 1] + right
    units = torch.arange(outputs).repeat_interleave(side * side)
    return sl.SparseLinear(
        inputs, outputs, connectivity=torch.stack((units, pixels.flatten())), init="fan_in"
    )


note("patches", build(patches))

# %% [markdown]
# ## Connections that change: RigL
#
# `RigL` drops the smallest weights now and then, and grows as many where the gradient is largest.
# It is called like a scheduler, after the optimizer.

# %%
steps = (1 if QUICK else 3) * -(-used // 64)


def rigl(model, optimizer):
    """Rewire every 20 steps, through three quarters of the training."""
    return sl.RigL(model, optimizer, update_every=20, stop_after=max(1, steps * 3 // 4))


note("RigL", build(sparse), rewirer=rigl)

# %% [markdown]
# ## Small worlds
#
# Most connections to neighbours, a few far away: `small_world=True`.

# %%
note("small-world", build(lambda inputs, outputs: sparse(inputs, outputs, small_world=True)))

# %% [markdown]
# ## Sparse activations
#
# `sl.KWinners` lets the strongest units of a sample speak, and silences the others. Units that won
# rarely are helped, so that all get their turn.

# %%
note("dense, k-winners", build(nn.Linear, sl.KWinners))
note("sparse, k-winners", build(sparse, sl.KWinners))

# %% [markdown]
# ## All of them

# %%
table = pd.DataFrame(rows).T
table["accuracy"] = [accuracies[-1] for accuracies in table.pop("accuracies")]
table

# %%
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, row in rows.items():
    axes.plot(range(1, len(row["accuracies"]) + 1), row["accuracies"], marker=".", label=name)
axes.xaxis.get_major_locator().set_params(integer=True)
axes.set_xlabel("epoch")
axes.set_ylabel("test accuracy in percent")
axes.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## A very wide network
#
# A dense layer of 20,000 × 20,000 holds 1.6 GB, and its gradient as much again. At 99.9% it is
# 400,000 numbers. (The published net, 50,000 wide and five layers deep, is `sparsebench train
# wide`.)

# %%
wide = 1000 if QUICK else 20_000
model = nn.Sequential(
    sl.SparseLinear(784, wide, sparsity=0.99, init="fan_in"),
    nn.LayerNorm(wide),
    nn.ReLU(),
    sl.SparseLinear(wide, wide, sparsity=0.999, init="fan_in"),
    nn.LayerNorm(wide),
    nn.ReLU(),
    sl.SparseLinear(wide, 10, sparsity=0.9, init="fan_in"),
)
dense_parameters = 784 * wide + wide * wide + wide * 10
print(f"{sum(p.numel() for p in model.parameters()):,} parameters; dense: {dense_parameters:,}")
note("very wide", model, epochs=1, lr=0.02)

# %% [markdown]
# ## What a large layer costs
#
# Forward and backward of one sample through 4,000 × 4,000, dense and sparse, in turn. Where it pays
# on your machine, for your shapes, is what `sparsebench advise` and the notebook `does_sparse_pay`
# say.

# %%
size = 500 if QUICK else 4000
x = torch.randn(1, size)
for name, layer in {
    "dense": nn.Linear(size, size),
    "sparse": sl.SparseLinear(size, size, sparsity=0.99),
}.items():
    times = []
    for _ in range(10):
        start = time.perf_counter()
        layer(x).sum().backward()
        times.append(time.perf_counter() - start)
    print(f"{name}: {1e3 * sorted(times)[len(times) // 2]:.2f} ms")
