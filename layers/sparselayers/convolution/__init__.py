"""Convolution with sparse weights: its geometry, its operators, and the ways to compute it."""

from sparselayers.convolution.geometry import Geometry

__all__ = ["Geometry"]
