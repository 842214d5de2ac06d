"""The module in which the sparselinear package keeps its ActivationSparsity."""

from sparselayers.compat import ActivationSparsity

__all__ = ["ActivationSparsity"]
