"""Question 1: with the same number of weights, sparse and wide or dense and narrow?

A sparse net 784 – 2000 – 10 against a dense one 784 – w – 10 with w = 2000 (1 − sparsity), which
has exactly as many weights. The sparsity is that of the whole sparse net; but for one row that
has both layers equally sparse, it is spread over the layers as in the Erdős–Rényi graph, since
at 99% most hidden units would otherwise have no connection to any output.
"""

from __future__ import annotations

from dataclasses import replace

from sparsebench.training.setting import Setting

WIDTH = 2000
SPARSITIES = (0.8, 0.9, 0.95, 0.98, 0.99)

# One recipe for all sparse nets, and one for all dense ones: ten epochs with a cosine. The rates
# are those of a first sketch (sparsebench/training/recipe.py), tuned for neither side.
_DENSE = Setting(
    experiment="same-weights", row="", model="dense", sparsity=0.0, schedule="cosine", lr=0.02
)
_SPARSE = replace(_DENSE, model="sparse", width=WIDTH, output="erdos_renyi", init="fan_in", lr=0.05)
_REWIRED = replace(_SPARSE, update_every=200, fraction=0.3, stop_after=7000)

KINDS: dict[str, Setting] = {
    "random": _SPARSE,
    "random, both layers alike": replace(_SPARSE, output="sparse"),
    "small-world": replace(_SPARSE, topology="small_world"),
    "user connectivity": replace(_SPARSE, topology="user"),
    "SET": replace(_REWIRED, rewiring="set"),
    "RigL": replace(_REWIRED, rewiring="rigl"),
}


def rows() -> list[Setting]:
    """Return the dense nets and every kind of sparse one, at every sparsity."""
    made = []
    for sparsity in SPARSITIES:
        width = round(WIDTH * (1 - sparsity))
        made.append(replace(_DENSE, row=f"dense {width} wide", width=width))
        made += [
            replace(setting, row=f"{name} {sparsity:.0%}", sparsity=sparsity)
            for name, setting in KINDS.items()
        ]
    return made
