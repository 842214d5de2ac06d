"""How sparse a network is to be, and when; and what has been trained to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sparsebench.training import checkpoint
from sparsebench.training.checkpoint import CheckpointError
from sparsebench.training.cifar.masks import MaskPruner
from sparsebench.training.rewiring import Fixed, Rewirer
from sparsebench.training.settings import CifarSetting, Setting
from sparselayers.prune import Gradual, Pruner

BEGIN = 0.5  # what gradual pruning begins with, before the first step
REST = 2  # epochs at the end of gradual pruning in which nothing is pruned


@dataclass(frozen=True)
class Trained:
    """A trained dense network: its state, and the key of its setting."""

    key: str
    state: dict[str, Any]


def gradual(setting: CifarSetting, steps_per_epoch: int) -> Gradual:
    """Return the schedule: the published cubic, a pruning after each epoch but the last ones."""
    return Gradual(
        initial=min(BEGIN, setting.sparsity),
        final=setting.sparsity,
        stop_after=max(1, setting.epochs - REST) * steps_per_epoch,
        update_every=steps_per_epoch,
    )


def stages(setting: CifarSetting) -> list[float]:
    """Return the sparsity of every epoch of `setting`."""
    if setting.pruning != "gradual":
        return [setting.sparsity] * setting.epochs
    schedule, found = gradual(setting, 1), [0.0]
    for epoch in range(setting.epochs):
        found.append(found[-1] if (s := schedule.sparsity(epoch)) is None else s)
    return found[1:]


def to_time(settings: Sequence[Setting]) -> list[Setting]:
    """Return what is timed of `settings`: of one pruned gradually, every stage by itself."""
    timed: list[Setting] = []
    for setting in settings:
        if not isinstance(setting, CifarSetting) or setting.pruning != "gradual":
            timed.append(setting)
            continue
        timed += [
            replace(setting, row=f"{setting.row}, {level:.1%}", pruning="once", sparsity=level)
            for level in dict.fromkeys(round(level, 3) for level in stages(setting))
            # Masks take the same time whatever they mask.
            if setting.model == "sparse" or level == setting.sparsity
        ]
    return timed


def make_pruner(
    setting: CifarSetting, network: nn.Module, optimizer: Optimizer, steps_per_epoch: int
) -> Rewirer:
    """Return what prunes the network while it trains, if anything does."""
    if setting.pruning != "gradual":
        return Fixed()
    schedule = gradual(setting, steps_per_epoch)
    if setting.model == "masked":
        return MaskPruner(network, schedule)
    return Pruner(network, optimizer, schedule, structure=setting.structure)


def trained_path(folder: Path, setting: CifarSetting) -> Path:
    """Return where the trained dense network is kept that `setting` starts from, or ends as."""
    row = setting.start or setting.row.partition(",")[0]
    images = f"first{setting.images}" if setting.images else "all"
    of = (setting.network, row, setting.dataset, images, f"seed{setting.seed}")
    return folder / "checkpoints" / f"trained-{'-'.join(of)}.pt"


def keep_trained(folder: Path, setting: CifarSetting, network: nn.Module) -> None:
    """Write the trained network for those that start from it."""
    path = trained_path(folder, setting)
    checkpoint.save(path, setting, {"network": network.state_dict()})


def start_of(folder: Path, setting: Setting) -> Trained | None:
    """Return the network that `setting` starts from; None where it starts from nothing.

    Raises CheckpointError where that has not been trained in `folder`, or its file is damaged.
    """
    if not isinstance(setting, CifarSetting) or not setting.start:
        return None
    path = trained_path(folder, setting)
    if not path.exists():
        raise CheckpointError(
            f"row {setting.row!r} starts from the trained network of row {setting.start!r}, and "
            f"{path} is not there: train that row first"
        )
    content = checkpoint.read(path)
    return Trained(content["setting"].key, content["network"])
