"""Convolution with sparse weights: its geometry, its operators, and the ways to compute it.

`products` chooses among them: `native` calls the C++ kernels of `csrc/convolution`, as `plan` says,
`windows` makes it a product of the windows of an image, by a backend. Uses `backends` and
connections; it knows no layer.
"""

from sparselayers.convolution.geometry import Geometry

__all__ = ["Geometry"]
