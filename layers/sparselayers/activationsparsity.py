"""The module in which the sparselinear package keeps its ActivationSparsity."""

from sparselayers.activation import ActivationSparsity

__all__ = ["ActivationSparsity"]
