"""Nested tensors: sequences of several lengths, as nn.TransformerEncoder makes of padded ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def of_rows(product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `product` of all rows of the sequences in `x`, (batch, …, in), nested as `x` is."""
    if x.layout == torch.jagged:
        y = product(x.values())
        return torch.nested.nested_tensor_from_jagged(
            y,
            offsets=x.offsets(),  # type: ignore[attr-defined]
            lengths=x.lengths(),  # type: ignore[attr-defined]
            jagged_dim=x._ragged_idx,  # type: ignore[attr-defined]
        )
    sequences = x.unbind()
    rows = [sequence.reshape(-1, sequence.shape[-1]) for sequence in sequences]
    products = torch.split(product(torch.cat(rows)), [len(part) for part in rows])
    return torch.nested.as_nested_tensor(
        [
            part.reshape(*sequence.shape[:-1], part.shape[-1])
            for part, sequence in zip(products, sequences, strict=True)
        ],
        layout=torch.strided,
    )
