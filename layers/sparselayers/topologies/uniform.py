"""Connections drawn uniformly: random graphs with a given number of edges."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.topologies.coverage import cover_outputs
from sparselayers.topologies.keys import from_keys, number_of_connections
from sparselayers.topologies.registry import drawn
from sparselayers.topologies.sampling import device_of, distinct_integers


@drawn
def random(
    shape: tuple[int, int],
    sparsity: float = 0.9,
    *,
    every_output: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Choose exactly round((1 − sparsity) · in · out) places, uniformly without replacement.

    With `every_output`, connections are moved at random from outputs that have several to those
    that have none.

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no connection at all, or fewer
    than one for each output where that is asked for.
    """
    shape = check_shape(shape)
    return _uniform(shape, number_of_connections(shape, sparsity), every_output, generator, device)


@drawn
def erdos_renyi(
    shape: tuple[int, int],
    sparsity: float | None = None,
    *,
    epsilon: float | None = None,
    every_output: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Draw the bipartite Erdős–Rényi graph in which SET and RigL start.

    Each place is a connection with the same probability ε (out + in) / (out · in), so that a
    layer has in proportion to its neurons, not to its weights: round(ε (out + in)) connections.
    The number is exact (the G(n, M) form of the model); with a `sparsity` (by default 0.9) in
    place of `epsilon` it is round((1 − sparsity) · in · out), the same draw as `random`.
    `erdos_renyi_sparsities` spreads one ε over the layers of a model. `every_output` as in
    `random`.

    Raises ValueError where both are given, or where either leaves no connection or asks for
    more than there are places.

    Source: Mocanu et al. 2018 (SET, arXiv 1707.04780), equation 1.
    """
    shape = check_shape(shape)
    if epsilon is None:
        nnz = number_of_connections(shape, 0.9 if sparsity is None else sparsity)
    elif sparsity is not None:
        raise ValueError(f"give sparsity or epsilon, not both: got {sparsity} and {epsilon}")
    else:
        most = shape[0] * shape[1] / sum(shape)
        if not 0.0 < epsilon <= most or round(epsilon * sum(shape)) == 0:
            raise ValueError(
                f"epsilon must be in [{0.5 / sum(shape):.4g}, {most:.4g}] "
                f"for a layer of shape {shape}, got {epsilon}"
            )
        nnz = round(epsilon * sum(shape))
    return _uniform(shape, nnz, every_output, generator, device)


def _uniform(
    shape: tuple[int, int],
    nnz: int,
    every_output: bool,
    generator: torch.Generator | None,
    device: torch.device | str | None,
) -> Connectivity:
    keys = distinct_integers(shape[0] * shape[1], nnz, generator)
    if every_output:

        def any_input(rows: Tensor) -> Tensor:
            return torch.randint(
                shape[1], rows.shape, generator=generator, device=device_of(generator)
            )

        keys = cover_outputs(keys, shape, any_input, generator)
    return from_keys(keys, shape).to(device or "cpu")
