"""One small member of every kind of layer, for the tests that every layer must pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import sparselayers as sl


@dataclass(frozen=True)
class Member:
    """How to build a layer, and an input for it of some batch size."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def input(self, batch: int = 6, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, *self.shape, generator=generator, dtype=dtype)

    def __repr__(self) -> str:
        return self.name


LAYERS = [
    Member("SparseLinear", lambda: sl.SparseLinear(12, 9, sparsity=0.6), (12,)),
    Member(
        "SparseLinear-fan_in",
        lambda: sl.SparseLinear(12, 9, False, sparsity=0.6, init="fan_in"),
        (2, 12),
    ),
    Member(
        "SparseLinear-small_world",
        lambda: sl.SparseLinear(12, 9, sparsity=0.6, small_world=True),
        (12,),
    ),
    Member(
        "SparseLinear-dynamic",
        lambda: sl.SparseLinear(12, 9, sparsity=0.6, dynamic=True, update_every=2, fraction=0.3),
        (12,),
    ),
    Member("SparseConv2d", lambda: sl.SparseConv2d(3, 4, 3, padding=1, sparsity=0.6), (3, 5, 5)),
    Member("KWinners", lambda: sl.KWinners(0.7, features=12), (12,)),
    Member("KWinners2d", lambda: sl.KWinners2d(0.7, features=4), (4, 3, 3)),
    Member("KWinners2d-image", lambda: sl.KWinners2d(0.7, local=False, features=4), (4, 3, 3)),
    Member("ActivationSparsity", lambda: sl.ActivationSparsity(), (12,)),
]
WITH_PARAMETERS = [member for member in LAYERS if list(member.build().parameters())]
