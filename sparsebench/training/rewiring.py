"""The rewirer of a setting: one of the rules for rewiring, a pruner, or none at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from sparsebench.training.annealing import schedule_of
from sparsebench.training.masked import MaskedRigL
from sparsebench.training.settings import CifarSetting, GPTSetting, MLPSetting
from sparselayers.dynamic import CHT, GSE, MEST, SET, CHTs, GraNet, MomentumGrowth, RigL
from sparselayers.layer import SparseLayer
from sparselayers.prune import Pruner
from sparselayers.ranks import Ranks

Rewired = MLPSetting | CifarSetting | GPTSetting


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
    setting: Rewired, network: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks
) -> Rewirer:
    """Return the rewirer that `setting` asks for, which does the same on all `ranks`.

    Raises ValueError where it makes no sense.
    """
    schedule = schedule_of(setting)
    if setting.rewiring == "none" and schedule is None:
        return Fixed()
    if setting.model == "dense":
        raise ValueError(f"rewiring {setting.rewiring!r}: a dense model has nothing to rewire")
    if setting.model == "masked":
        if setting.rewiring != "rigl":
            raise ValueError(
                f"rewiring {setting.rewiring!r}: the masked model is rewired by 'rigl' alone"
            )
        return MaskedRigL(
            network,
            optimizer,
            update_every=setting.update_every,
            stop_after=setting.stop_after,
            fraction=setting.fraction,
            ranks=ranks,
        )
    if setting.rewiring == "none":
        assert schedule is not None
        return Pruner(network, optimizer, schedule, structure=setting.structure)
    return _RULES[setting.rewiring](
        network,
        optimizer,
        update_every=setting.update_every,
        stop_after=setting.stop_after,
        fraction=setting.fraction,
        decay=setting.decay if isinstance(setting, MLPSetting) else "cosine",
        schedule=schedule,
        generator=torch.Generator().manual_seed(setting.seed),
        process_group=ranks.group,
        structure=setting.structure,
        **_more(setting, network),
    )


_RULES: dict[str, Callable[..., Rewirer]] = {
    "rigl": RigL,
    "set": SET,
    "mest": MEST,
    "gse": GSE,
    "momentum": MomentumGrowth,
    "granet": GraNet,
    "cht": CHT,
    "chts": CHTs,
}


def _more(setting: Rewired, network: nn.Module) -> dict[str, Any]:
    """Return what a rule has as settings of its own."""
    if not isinstance(setting, MLPSetting) or setting.rewiring not in ("cht", "chts"):
        return {}
    modules = network.named_modules()
    chain = [] if setting.model == "wide" else [n for n, m in modules if isinstance(m, SparseLayer)]
    pruning = None if setting.pruned_by == "removal" else setting.pruned_by
    own: dict[str, Any] = {"score": setting.score, "removal": setting.removal, "pruning": pruning}
    return own | {"chain": chain}
