"""The tutorial's very wide net: 7840 – 50,000 five times, at 99.9% sparsity."""

from __future__ import annotations

from sparsebench.training.setting import Setting

WIDTH, SPARSITY = 50_000, 0.999


def rows() -> list[Setting]:
    """Return the one row: SGD with Nesterov's momentum, as published."""
    return [
        Setting(
            experiment="wide",
            row="wide",
            model="wide",
            sparsity=SPARSITY,
            width=WIDTH,
            lr=5e-5,
            nesterov=True,
            epochs=6,
        )
    ]


def dense_weights(width: int = WIDTH) -> int:
    """Count the weights that this net has when dense; its gradients are as many again."""
    return 7840 * width + 4 * width**2
