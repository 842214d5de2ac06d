"""The columns of a setting in a record: their order makes its key, and stays as it is for ever."""

from __future__ import annotations

from typing import Any

# In records of before, all networks had all of these columns. Beside a column that only some of
# them have as a field stands what the others write there.
COLUMNS: dict[str, Any] = {
    "experiment": None, "row": None, "model": None,
    "topology": "random", "rewiring": "none",
    "sparsity": None,
    "width": 2000, "activation": "relu", "output": "sparse", "init": "linear",
    "update_every": 1000, "fraction": 0.1, "stop_after": 150_000,
    "dataset": None, "held_out": None, "epochs": None, "batch": None, "lr": None, "momentum": None,
    "nesterov": None, "weight_decay": None, "schedule": None, "seed": None, "device": None,
    "threads": None, "processes": None, "network": None,
    "pruning": "none", "swap": "all", "start": "",
    "images": None,
    "hidden_layers": 1, "norm": "layer",
    "removal": "magnitude", "score": "ch2_l3n", "randomness": 0.25,
    "annealing": "none", "initial_sparsity": 0.5, "anneal_from": 0, "anneal_until": 0,
    "at_start": "none",
    "structure": "unstructured",
    "layers": 0, "heads": 0, "context": 0, "ff_width": 0, "sparse_blocks": "all",
    "seconds": 0.0, "steps_per_epoch": 0, "warm_up": 0.0,
    "decay": "cosine", "pruned_by": "removal",
    "augmentation": "none",
}  # fmt: skip

# Columns that settings did not have when they got their names: no part of the key at these values.
LATER = frozenset({
    "hidden_layers", "norm", "removal", "score", "randomness",
    "annealing", "initial_sparsity", "anneal_from", "anneal_until", "at_start",
    "structure",
    "layers", "heads", "context", "ff_width", "sparse_blocks",
    "seconds", "steps_per_epoch", "warm_up",
    "decay", "pruned_by",
    "augmentation",
})  # fmt: skip
