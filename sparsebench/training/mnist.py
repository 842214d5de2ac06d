"""The seven rows of the SparseLinear tutorial's MNIST section."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.training.setting import Setting

# 784 – 2000 – 10 with LayerNorm; SGD with momentum 0.9, batches of 64, ten epochs, cross-entropy.
# The learning rates are the published ones. RigL runs with the published layer's own defaults:
# every 6000 steps, that is once in ten epochs, a tenth of the connections.
_BASE = Setting(experiment="mnist", row="sparse", lr=0.1)

ROWS: dict[str, Setting] = {
    setting.row: setting
    for setting in (
        replace(_BASE, row="dense", model="dense", sparsity=0.0, lr=0.01),
        _BASE,
        replace(_BASE, row="user connectivity", topology="user"),
        replace(_BASE, row="RigL", rewiring="rigl", update_every=6000, lr=0.005),
        replace(_BASE, row="small-world", topology="small_world"),
        replace(
            _BASE, row="dense, k-winners", model="dense", activation="kwinners", sparsity=0.0,
            lr=0.005,
        ),
        replace(_BASE, row="sparse, k-winners", activation="kwinners", lr=0.05),
    )
}  # fmt: skip
