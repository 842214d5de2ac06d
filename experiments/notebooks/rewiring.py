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
# # Rewiring, looked at
#
# RigL moves connections while a network trains: small weights go, and new ones grow where the
# gradient is largest. SET grows them anywhere. What does that do to the topology? Which pixels does
# the network come to look at, how many connections are ever tried, and how many units end up
# without any?
#
# It runs on 10,000 digits that come with the project, in a minute or two on a laptop.

# %%
import os

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn

import sparselayers as sl
from sparsebench.training.datasets import digits
from sparselayers import analysis

QUICK = "NOTEBOOK_QUICK" in os.environ  # the tests run a part of everything
data = digits.subset()
used = 640 if QUICK else len(data.train_labels)
images, labels = data.train_images[:used], data.train_labels[:used]
WIDTH, EPOCHS, BATCH = (50, 1, 64) if QUICK else (500, 8, 64)
STEPS = EPOCHS * -(-used // BATCH)

# %% [markdown]
# ## Three networks that begin alike
#
# The same random connections, 98% of which are not there: they stay, move by SET, or move by RigL.
# `analysis.Turnover` watches what each rewiring replaces.

# %%
RULES = {"static": None, "SET": sl.SET, "RigL": sl.RigL}


def network():
    """784 – WIDTH – WIDTH – 10, the same one at each call."""
    torch.manual_seed(0)
    return nn.Sequential(
        sl.SparseLinear(784, WIDTH, sparsity=0.98, init="fan_in"),
        nn.ReLU(),
        sl.SparseLinear(WIDTH, WIDTH, sparsity=0.98, init="fan_in"),
        nn.ReLU(),
        nn.Linear(WIDTH, 10),
    )


def train(rule):
    """Return the network after training, and what was seen of its rewirings."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    rewirer = rule and rule(model, optimizer, update_every=10, stop_after=STEPS * 3 // 4)
    watched = analysis.Turnover(model)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(used).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            if rewirer:
                rewirer.step()
    watched.stop()
    return model, watched


trained = {name: train(rule) for name, rule in RULES.items()}


def accuracy(model):
    """The share of the test digits that are read rightly, in percent."""
    with torch.inference_mode():
        right = model(data.test_images).argmax(1) == data.test_labels
    return 100 * right.float().mean().item()


pd.Series({name: accuracy(model) for name, (model, _) in trained.items()}, name="accuracy").round(1)

# %% [markdown]
# ## The topology as a table
#
# One row a layer: degrees, units without any connection, connections that lie on a path from a
# pixel to a class (`effective`), and how much of a small world it is.

# %%
columns = ["layer", "connections", "dead_outputs", "dead_inputs", "effective", "in_degree_max"]
tables = {name: analysis.topology(model)[columns] for name, (model, _) in trained.items()}
pd.concat(tables, names=["rule", None]).droplevel(1).set_index("layer", append=True)

# %% [markdown]
# ## Where the network looks
#
# How many connections each pixel has. At random, all have about as many; SET loses some of those at
# the border, where all digits look alike and weights stay small; RigL gathers them where digits
# differ.

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
most = max(
    int(analysis.degrees(model[0].connectivity).inputs.max()) for model, _ in trained.values()
)
for axes, (name, (model, _)) in zip(panels, trained.items(), strict=True):
    seen = analysis.degrees(model[0].connectivity).inputs.view(28, 28).numpy()
    shown = axes.imshow(seen, vmin=0, vmax=most)
    axes.set_title(name)
    axes.set_axis_off()
figure.colorbar(shown, ax=panels, label="connections of a pixel")
plt.show()

# %% [markdown]
# ## What was replaced, and what was tried
#
# The share of a layer's connections that each rewiring replaced falls with the schedule; the share
# of all places where there has ever been a connection rises. RigL tries fewer places than SET:
# gradients point to the same ones again and again.

# %%
explored = {
    name: watched.table().groupby("layer").explored.last()
    for name, (_, watched) in trained.items()
    if watched.rows
}
pd.DataFrame(explored).round(3)

# %%
model, watched = trained["RigL"]
figure = analysis.plot(model, turnover=watched)
figure

# %% [markdown]
# ## A rule of your own
#
# A rule is a class with one method, `grow`, that returns places for new connections: here those
# near the middle of the image. What follows from it is seen in the same table.

# %%


class Central(sl.dynamic.Rewirer):
    """Grow connections to the pixels nearest to the middle."""

    needs_gradient = False

    def grow(self, site, count):
        """Return the places that are largest by minus the distance from the middle."""
        rows, columns = site.layer.shape
        side = max(1, round(columns**0.5))
        place = torch.arange(columns)
        middle = (side - 1) / 2
        distance = ((place // side - middle) ** 2 + (place % side - middle) ** 2).sqrt()
        noise = torch.rand(rows, generator=self.generator)

        def nearness(block):
            return noise[block, None] - distance

        return site.largest(nearness, count)


model, _ = train(Central)
seen = analysis.degrees(model[0].connectivity).inputs.view(28, 28).numpy()
print(f"accuracy {accuracy(model):.1f}%; the pixel with most connections has {int(seen.max())}")
