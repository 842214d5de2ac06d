"""The rewirer of a setting: RigL, SET, or none at all."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from sparsebench.training.masked import MaskedRigL
from sparsebench.training.settings import MLPSetting
from sparselayers.dynamic import SET, RigL
from sparselayers.ranks import Ranks


class Rewirer(Protocol):
    """What training asks of a rewiring rule."""

    def step(self) -> object:
        """Rewire, if it is time, after `optimizer.step()`."""

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Go on from `state_dict`."""


class Fixed:
    """The connections stay as they are."""

    def step(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Take an empty state."""
        del state_dict


def make_rewirer(
    setting: MLPSetting, network: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks
) -> Rewirer:
    """Return the rewirer that `setting` asks for, which does the same on all `ranks`.

    Raises ValueError where it makes no sense.
    """
    if setting.rewiring == "none":
        return Fixed()
    if setting.model == "dense":
        raise ValueError(f"rewiring {setting.rewiring!r}: a dense model has nothing to rewire")
    if setting.model == "masked":
        if setting.rewiring == "set":
            raise ValueError("rewiring 'set': the masked model is rewired by 'rigl' alone")
        return MaskedRigL(
            network,
            optimizer,
            update_every=setting.update_every,
            stop_after=setting.stop_after,
            fraction=setting.fraction,
            ranks=ranks,
        )
    rule = RigL if setting.rewiring == "rigl" else SET
    return rule(
        network,
        optimizer,
        update_every=setting.update_every,
        stop_after=setting.stop_after,
        fraction=setting.fraction,
        generator=torch.Generator().manual_seed(setting.seed),
        process_group=ranks.group,
    )
