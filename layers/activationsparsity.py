"""The module in which the sparselinear package keeps its ActivationSparsity."""

from layers.activation import ActivationSparsity

__all__ = ["ActivationSparsity"]
