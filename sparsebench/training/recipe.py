"""Question 3: can sparse equal dense, and what does it take?

`search` are the trials, as many for the dense net as for the sparse ones with 90% and with 99%
zeros, judged on the last 10,000 training images, which they do not train on. `final` are the chosen
recipes, trained on all 60,000 images and tested on the test set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsebench.training.setting import Setting

_DENSE = Setting(
    experiment="recipe-search",
    row="",
    model="dense",
    sparsity=0.0,
    schedule="cosine",
    lr=0.02,
    held_out=10_000,
)
_SPARSE = replace(
    _DENSE, model="sparse", sparsity=0.9, output="erdos_renyi", init="fan_in", lr=0.05,
    update_every=200, stop_after=6000, fraction=0.3,
)  # fmt: skip

_DENSE_TRIALS: dict[str, Setting] = {
    "lr 0.005": replace(_DENSE, lr=0.005),
    "lr 0.01": replace(_DENSE, lr=0.01),
    "lr 0.02": _DENSE,
    "lr 0.05": replace(_DENSE, lr=0.05),
    "lr 0.1": replace(_DENSE, lr=0.1),
    "lr 0.02, weight decay 1e-4": replace(_DENSE, weight_decay=1e-4),
    "lr 0.02, weight decay 5e-4": replace(_DENSE, weight_decay=5e-4),
    "lr 0.05, weight decay 5e-4": replace(_DENSE, lr=0.05, weight_decay=5e-4),
    "lr 0.02, Nesterov": replace(_DENSE, nesterov=True),
    "lr 0.02, k-winners": replace(_DENSE, activation="kwinners"),
    "lr 0.02, Nesterov, weight decay 1e-4": replace(_DENSE, nesterov=True, weight_decay=1e-4),
}
_SPARSE_TRIALS: dict[str, Setting] = {
    "lr 0.02": replace(_SPARSE, lr=0.02),
    "lr 0.05": _SPARSE,
    "lr 0.1": replace(_SPARSE, lr=0.1),
    "lr 0.05, both layers alike": replace(_SPARSE, output="sparse"),
    "lr 0.05, last layer dense": replace(_SPARSE, output="dense"),
    "lr 0.05, RigL, last layer dense": replace(_SPARSE, rewiring="rigl", output="dense"),
    "lr 0.05, weight decay 5e-4": replace(_SPARSE, weight_decay=5e-4),
    "lr 0.05, small-world": replace(_SPARSE, topology="small_world"),
    "lr 0.05, SET": replace(_SPARSE, rewiring="set"),
    "lr 0.05, RigL": replace(_SPARSE, rewiring="rigl"),
    "lr 0.05, k-winners": replace(_SPARSE, activation="kwinners"),
}
# With so few weights, where they are counts for more than how they are trained.
_SPARSER = replace(_SPARSE, sparsity=0.99)
_SPARSER_TRIALS: dict[str, Setting] = {
    "lr 0.05": _SPARSER,
    "lr 0.1": replace(_SPARSER, lr=0.1),
    "lr 0.05, last layer dense": replace(_SPARSER, output="dense"),
    "lr 0.05, small-world": replace(_SPARSER, topology="small_world"),
    "lr 0.05, SET": replace(_SPARSER, rewiring="set"),
    "lr 0.1, SET": replace(_SPARSER, rewiring="set", lr=0.1),
    "lr 0.05, SET, every 50 steps": replace(_SPARSER, rewiring="set", update_every=50),
    "lr 0.05, RigL": replace(_SPARSER, rewiring="rigl"),
    "lr 0.1, RigL": replace(_SPARSER, rewiring="rigl", lr=0.1),
    "lr 0.05, RigL, every 50 steps": replace(_SPARSER, rewiring="rigl", update_every=50),
    "lr 0.05, RigL, last layer dense": replace(_SPARSER, rewiring="rigl", output="dense"),
}

# What won the search, on validation images.
BEST_DENSE, BEST_SPARSE, BEST_SPARSER = "lr 0.02", "lr 0.05, SET", "lr 0.05, RigL, last layer dense"
EPOCHS = 10


def search() -> list[Setting]:
    """Return the trials of the three nets."""
    nets = (
        ("dense", _DENSE_TRIALS), ("sparse 90%", _SPARSE_TRIALS), ("sparse 99%", _SPARSER_TRIALS)
    )  # fmt: skip
    return [
        replace(setting, row=f"{net}, {name}")
        for net, trials in nets
        for name, setting in trials.items()
    ]


def final() -> list[Setting]:
    """Return the chosen recipes: dense; sparse as searched at 90%, and as searched at 99%."""
    dense = replace(
        _DENSE_TRIALS[BEST_DENSE], experiment="recipe", row="dense", held_out=0, epochs=EPOCHS
    )
    # Rewiring ends, as in the search, after three quarters of the steps.
    common: dict[str, Any] = {
        "experiment": "recipe", "held_out": 0, "epochs": EPOCHS, "stop_after": EPOCHS * 700
    }  # fmt: skip
    recipes = {
        0.9: _SPARSE_TRIALS[BEST_SPARSE],
        0.95: _SPARSE_TRIALS[BEST_SPARSE],
        0.98: _SPARSER_TRIALS[BEST_SPARSER],
        0.99: _SPARSER_TRIALS[BEST_SPARSER],
    }
    return [
        dense,
        *(
            replace(recipe, row=f"sparse {sparsity:.0%}", sparsity=sparsity, **common)
            for sparsity, recipe in recipes.items()
        ),
    ]
