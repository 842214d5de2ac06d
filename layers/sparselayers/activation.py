"""Sparse activations: of many units only the k strongest speak (k-winners).

Ahmad and Scheinkman, "How Can We Be So Dense? The Benefits of Using Highly Sparse
Representations", arXiv 1903.11257. Units that win more often than their share are held back, the
others are boosted: unit i competes with x_i · exp(β (k/n − d_i)), where its duty cycle d_i is a
moving average of how often it has won. Winners pass on their own, unboosted value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparselayers import ranks
from sparselayers.fraction import check_sparsity
from sparselayers.functional import keep, winners
from sparselayers.tracing import as_node, is_traced


class KWinners(nn.Module):
    """Keep the k = round((1 − sparsity) · n) strongest of the n units along `dim`, zero the rest.

    Any input (*, n, *); every place of the other dimensions is a sample with exactly k winners
    (at least one), ties included. The gradient goes through winners alone.

    In training the buffer `duty_cycle` (n,), the fraction of the samples in which each unit won,
    becomes (1 − α) d + α · (its mean over the batch) with α = `duty_cycle_momentum`, the paper's
    definition. (The sparselinear package adds up the batch instead of averaging it, which makes
    the boost depend on the batch size.) `boost_strength` is the paper's β. In `eval()` the duty
    cycles stay as they are. They are as many as `features` says, or as the first input seen in
    training has. Under DistributedDataParallel the batch is that of all ranks: each forward pass in
    training sums n numbers over them, so that they share one duty cycle (not under
    torch.compile: there each rank counts its own batch).

    Raises ValueError for a sparsity or momentum outside [0, 1) or [0, 1], and RuntimeError for an
    input with another number of units.
    """

    def __init__(
        self,
        sparsity: float = 0.65,
        duty_cycle_momentum: float = 0.1,
        boost_strength: float = 1.5,
        dim: int = -1,
        *,
        features: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_sparsity(sparsity)
        if not 0.0 <= duty_cycle_momentum <= 1.0:
            raise ValueError(f"duty_cycle_momentum must be in [0, 1], got {duty_cycle_momentum}")
        if not 0.0 <= boost_strength < float("inf"):
            raise ValueError(f"boost_strength must be finite and ≥ 0, got {boost_strength}")
        if features is not None and features < 1:
            raise ValueError(f"features must be positive, got {features}")
        self.sparsity = sparsity
        self.duty_cycle_momentum = duty_cycle_momentum
        self.boost_strength = boost_strength
        self.dim = dim
        self.duty_cycle: Tensor
        self.register_buffer("duty_cycle", torch.zeros(features or 0, device=device))

    def reset_parameters(self) -> None:
        """Forget who has won so far."""
        self.duty_cycle.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` where it wins and 0 elsewhere."""
        if (node := as_node(self, x)) is not None:
            return node  # type: ignore[no-any-return]
        self._expect(x, x.shape[self.dim] if -x.dim() <= self.dim < x.dim() else None)
        along_dim = [1] * x.dim()
        along_dim[self.dim] = -1
        won = winners(self._boosted(x, along_dim), self._k(x.shape[self.dim]), dim=self.dim)
        if self.training:
            self._count(torch.zeros_like(x, dtype=torch.bool).scatter(self.dim, won, True))
        return keep(x, won, dim=self.dim)

    def extra_repr(self) -> str:
        """Say what `print(layer)` shows."""
        return (
            f"sparsity={self.sparsity}, duty_cycle_momentum={self.duty_cycle_momentum}, "
            f"boost_strength={self.boost_strength}, dim={self.dim}"
        )

    def _k(self, units: int) -> int:
        return max(1, round((1.0 - self.sparsity) * units))

    def _boosted(self, x: Tensor, along_dim: list[int]) -> Tensor:
        """Return what the units compete with; without duty cycles there is nothing to boost."""
        if self.boost_strength == 0.0 or self.duty_cycle.numel() == 0:
            return x.detach()
        share = self._k(x.shape[self.dim]) / x.shape[self.dim]
        boost = torch.exp(self.boost_strength * (share - self.duty_cycle.float()))
        return x.detach() * boost.view(along_dim)

    def _count(self, won: Tensor) -> None:
        """Let the duty cycles move towards the fraction of the samples that each unit won."""
        if won.numel() == 0:
            return
        others = [dim for dim in range(won.dim()) if dim != self.dim % won.dim()]
        wins = won.sum(others) if others else won
        # Counted in integers and divided in float32: 16 bits hold no more than 65504 wins.
        fraction = (wins * (wins.numel() / won.numel())).to(self.duty_cycle.dtype)
        self.duty_cycle.lerp_(ranks.running().mean(fraction), self.duty_cycle_momentum)

    def _expect(self, x: Tensor, units: int | None) -> None:
        """Refuse an input without the units expected; adopt the number of the first batch."""
        if units is None or units == 0 or units != (self.duty_cycle.numel() or units):
            wanted = self.duty_cycle.numel() or "at least one"
            raise RuntimeError(
                f"expected an input with {wanted} units along dimension {self.dim}, "
                f"got {tuple(x.shape)}"
            )
        if not self.training or self.duty_cycle.numel():
            return
        if is_traced(x) or self.duty_cycle.device != x.device:
            self.duty_cycle = torch.zeros(units, dtype=self.duty_cycle.dtype, device=x.device)
        else:  # the same object, which DistributedDataParallel may have taken note of
            self.duty_cycle.resize_(units).zero_()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Make room for duty cycles where one side has not seen an input yet."""
        given = state_dict.get(f"{prefix}duty_cycle")
        if isinstance(given, Tensor) and given.dim() == 1:
            units = given.numel()
            if units != self.duty_cycle.numel() and 0 in (units, self.duty_cycle.numel()):
                self.duty_cycle.resize_(units).zero_()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class KWinners2d(KWinners):
    """K-winners for images (*, C, H, W): the units are channels, each with one duty cycle.

    With `local=True` the channels compete at each position: k = round((1 − sparsity) · C) winners
    per pixel. With `local=False`, the paper's form for convolutions, all C · H · W activations of
    an image compete, and a channel's duty cycle is averaged over its positions.
    """

    def __init__(
        self,
        sparsity: float = 0.65,
        duty_cycle_momentum: float = 0.1,
        boost_strength: float = 1.5,
        *,
        local: bool = True,
        features: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            sparsity, duty_cycle_momentum, boost_strength, -3, features=features, device=device
        )
        self.local = local

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` where it wins and 0 elsewhere."""
        if self.local:
            return super().forward(x)
        if (node := as_node(self, x)) is not None:
            return node  # type: ignore[no-any-return]
        self._expect(x, x.shape[-3] if x.dim() >= 3 and x.shape[-3:].numel() else None)
        boosted = self._boosted(x, [-1, 1, 1]).flatten(-3)
        won = winners(boosted, self._k(boosted.shape[-1]), dim=-1)
        if self.training:
            self._count(
                torch.zeros_like(boosted, dtype=torch.bool).scatter(-1, won, True).view(x.shape)
            )
        return keep(x.flatten(-3), won, dim=-1).view(x.shape)

    def extra_repr(self) -> str:
        """Say what `print(layer)` shows."""
        return f"{super().extra_repr()}, local={self.local}"
