"""How one sparsity for a whole model is spread over its layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from sparselayers.fraction import check_sparsity


def erdos_renyi_sparsities(
    shapes: Sequence[Sequence[int]], sparsity: float, *, kernel: bool = True
) -> list[float]:
    """Return a sparsity for each layer so that the model as a whole has `sparsity`.

    `shapes` are those of the dense weights: (out, in) for linear, (out, in, *kernel) for
    convolutional layers. The density of a layer is ε (out + in) / (out · in), the Erdős–Rényi
    scaling (ER), or with `kernel` ε (out + in + Σ kernel) / (out · in · Π kernel), which is
    Erdős–Rényi-Kernel (ERK); both agree for linear layers. Layers for which that exceeds 1 are
    dense, and ε is what makes the numbers of all weights add up.

    Raises ValueError for a sparsity outside [0, 1), no shapes, or a shape that is none of a layer.

    Source: Mocanu et al. 2018 (SET, arXiv 1707.04780), equation 1; Evci et al. 2020 (RigL,
    arXiv 1911.11134), section 3 (1).
    """
    check_sparsity(sparsity)
    if not shapes:
        raise ValueError("shapes is empty: there is no layer to give a sparsity to")
    for place, shape in enumerate(shapes):
        if len(shape) < 2 or any(int(size) != size or size < 1 for size in shape):
            raise ValueError(
                f"shapes[{place}] must be (out, in, *kernel), positive integers, got {tuple(shape)}"
            )
    weights = [prod(shape) for shape in shapes]
    scales = [(sum(shape) if kernel else shape[0] + shape[1]) for shape in shapes]
    if not kernel:  # the scaling of the channels holds for each place of the kernel
        scales = [scale * prod(shape[2:]) for scale, shape in zip(scales, shapes, strict=True)]
    wanted = (1.0 - sparsity) * sum(weights)
    # Layers in the order in which they become dense while ε grows.
    order = sorted(range(len(shapes)), key=lambda layer: weights[layer] / scales[layer])
    dense, rest = 0, sum(scales)
    densities = [1.0] * len(shapes)
    for place, layer in enumerate(order):
        epsilon = (wanted - dense) / rest
        if epsilon * scales[layer] <= weights[layer]:
            for other in order[place:]:
                densities[other] = epsilon * scales[other] / weights[other]
            break
        dense, rest = dense + weights[layer], rest - scales[layer]
    return [1.0 - density for density in densities]
