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
# # Does sparse pay on my machine?
#
# `make bench` measures the default sweep and keeps a record of every case. `sparsebench.load_frame`
# reads records as one tidy table, to ask whatever you want to know. This notebook asks three
# things: from which sparsity on a sparse layer is faster, who is the fastest, and what it holds.
#
# It reads records that come with the project, of another machine. For yours, measure first, and set
# `RECORDS` to `results`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import sparsebench

# Where records come with the project: in the checkout that this notebook lies in.
CHECKOUT = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "results/reference").is_dir())
RECORDS = Path(os.environ.get("NOTEBOOK_RECORDS", CHECKOUT / "results/reference/default"))

frame = sparsebench.load_frame(RECORDS)
print(f"{len(frame):,} cases of {frame.machine.nunique()} machine(s):", *frame.machine.unique())
frame[["implementation", "in_features", "sparsity", "batch", "phase", "status", "time [s]"]].head()

# %% [markdown]
# ## From which sparsity on?
#
# One problem is a size, a batch and a phase. Dense layers take the same time at every sparsity: the
# speed-up is the time of the dense layer over that of ours, in the same run.

# %%
TRAINING = "forward_backward"
square = frame[(frame.status == "ok") & (frame.in_features == frame.out_features)]
speedups = square[(square.phase == TRAINING) & (square.implementation == "ours")].pivot_table(
    index=["batch", "in_features"], columns="sparsity", values="speedup [×]", aggfunc="median"
)
speedups.round(1)

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
for axes, batch in zip(panels, sorted(square.batch.unique())[:2], strict=False):
    for size, row in speedups.loc[batch].iterrows():
        axes.plot(row.index, row, marker=".", label=f"{size} × {size}")
    axes.axhline(1, color="grey", linewidth=1)  # as fast as dense
    axes.set_yscale("log")
    axes.set_title(f"batch {batch}")
    axes.set_xlabel("sparsity")
panels[0].set_ylabel("speed-up over dense")
panels[0].yaxis.set_major_formatter("{x:g}×")
panels[0].legend(fontsize="small")
plt.show()

# %% [markdown]
# The least sparsity, of those measured, from which on ours is faster than dense:

# %%
from_there_on = (speedups > 1).iloc[:, ::-1].cummin(axis=1).iloc[:, ::-1]
pays = from_there_on.idxmax(axis=1).where(from_there_on.any(axis=1))
pays.unstack().rename_axis(columns="size")

# %% [markdown]
# ## Who is the fastest?
#
# Of each problem, the implementation with the least time. Where one of PyTorch's own does as well,
# take that one.

# %%
problem = ["phase", "batch", "in_features", "sparsity"]
best = square.loc[square.groupby(problem)["time [s]"].idxmin()]
best.groupby(["phase", "implementation"]).size().unstack(fill_value=0)

# %%
share = square.assign(
    over_best=square["time [s]"] / square.groupby(problem)["time [s]"].transform("min")
)
share.groupby(["phase", "implementation"]).over_best.median().unstack("phase").round(2)

# %% [markdown]
# ## What does it hold?
#
# Peak memory, of the layer and of what a call adds, in MB: the largest size, by sparsity.

# %%
largest = square[(square.in_features == square.in_features.max()) & (square.phase == TRAINING)]
memory = largest.pivot_table(
    index="implementation", columns="sparsity", values="peak_memory [B]", aggfunc="median"
)
(memory / 1e6).round(1)

# %% [markdown]
# ## And for one layer of mine?
#
# `sparsebench.advise` answers for a shape that was not measured, from records near it or by
# measuring for some seconds: `sparsebench advise --in 4096 --out 4096 --sparsity 0.93 --batch 64
# --train`.
