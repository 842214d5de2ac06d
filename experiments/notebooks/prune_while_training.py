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
# # Prune a model while it trains
#
# A dense network is made sparse without losing a weight, and then loses the smallest ones step by
# step, while it trains on. Values, gradients and the optimizer's state shrink with it: the last
# epochs are trained with a twentieth of the weights, in less time.
#
# It runs on 10,000 digits that come with the project, in a minute or two on a laptop.

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
WIDTH, EPOCHS, BATCH = (128, 3, 64) if QUICK else (1024, 10, 64)

# %% [markdown]
# ## A dense network, and the same one in sparse storage
#
# `convert_model` with `keep_zeros=True` keeps every weight. Nothing has been pruned yet, and the
# outputs are the same. The last layer is small, and stays dense.

# %%
dense = nn.Sequential(
    nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)
)
model = sl.convert_model(dense, nn.Linear, "csr", keep_zeros=True, skip=["4"])
torch.testing.assert_close(model(images[:8]), dense(images[:8]), rtol=1e-3, atol=1e-4)
print(model)

# %% [markdown]
# ## When what is pruned
#
# `Gradual` is the cubic schedule of Zhu and Gupta: fast first, when much is superfluous, and slow
# at the end. The `Pruner` is called like a scheduler, after the optimizer.

# %%
steps_of_an_epoch = -(-used // BATCH)
schedule = sl.Gradual(
    final=0.95,
    begin=steps_of_an_epoch,
    stop_after=EPOCHS * steps_of_an_epoch * 7 // 10,
    update_every=20,
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
pruner = sl.Pruner(model, optimizer, schedule)


def held(module, optimizer):
    """Bytes of weights, connections, and of what the optimizer keeps."""
    state = [t for values in optimizer.state.values() for t in values.values()]
    kept = [*module.state_dict().values(), *(t for t in state if isinstance(t, torch.Tensor))]
    return sum(t.numel() * t.element_size() for t in kept)


def accuracy(module):
    """The share of the test digits that are read rightly, in percent."""
    with torch.inference_mode():
        right = module(data.test_images).argmax(1) == data.test_labels
    return 100 * right.float().mean().item()


# %% [markdown]
# ## Training

# %%
rows = []
for epoch in range(1, EPOCHS + 1):
    start = time.perf_counter()
    for chosen in torch.randperm(used).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        pruner.step()
    rows.append(
        {
            "epoch": epoch,
            "sparsity": pruner.sparsity,
            "accuracy": accuracy(model),
            "seconds": time.perf_counter() - start,
            "held MB": held(model, optimizer) / 1e6,
        }
    )
table = pd.DataFrame(rows).set_index("epoch")
table.round(3)

# %%
figure, panels = plt.subplots(2, 2, figsize=(8, 5), layout="constrained", sharex=True)
for axes, column in zip(panels.flat, table.columns, strict=True):
    axes.plot(table.index, table[column], marker=".")
    axes.set_title(column)
    if column != "accuracy":  # of which the tenths count
        axes.set_ylim(0, 1.1 * table[column].max())
for axes in panels[1]:
    axes.set_xlabel("epoch")
plt.show()

# %% [markdown]
# The parameters are the same objects as before, shorter: no optimizer has to be made anew. A mask,
# as `torch.nn.utils.prune` makes it, would have kept memory and time as they were at the beginning.

# %%
assert model[0].weights is optimizer.param_groups[0]["params"][0]
assert optimizer.state[model[0].weights]["exp_avg"].shape == model[0].weights.shape
print(f"{model[0].weights.numel():,} of {784 * WIDTH:,} weights of the first layer are left")

# %% [markdown]
# ## What came of it
#
# `save_pretrained` writes a folder without code and without the dense model; layers that gain
# nothing by being sparse can be made dense again by `sl.convert_model(model, sl.SparseLinear,
# "dense")`.

# %%
again = sl.convert_model(model, sl.SparseLinear, "dense")
torch.testing.assert_close(again(images[:8]), model(images[:8]), rtol=1e-3, atol=1e-3)
again
