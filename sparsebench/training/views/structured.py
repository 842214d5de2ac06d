"""Networks that are trained with one structure beside the other: what is said of them."""

from __future__ import annotations

from sparsebench.training.groups import Group, dataset_of
from sparsebench.training.settings import CifarSetting, MLPSetting, Setting
from sparsebench.training.views.cifar_tables import NAMES

EXPERIMENTS = ("structures-mnist", "structures-fashion", "structures-vgg", "structures-resnet")

# By rule, how connections move.
METHODS = {"none": "static", "rigl": "RigL"}

Structured = MLPSetting | CifarSetting


def structured(setting: Setting) -> Structured:
    """Return a setting of a network that may have a structure."""
    assert isinstance(setting, Structured)
    return setting


def structure_of(group: Group) -> str:
    """Return the structure of a group's sparse layers, or "dense"."""
    setting = structured(group.setting)
    return "dense" if setting.model == "dense" else setting.structure


def trained(own: list[Group]) -> str:
    """Say of the groups of one experiment and dataset what was trained, and how long."""
    setting = next((g.setting for g in own if structure_of(g) != "dense"), own[0].setting)
    epochs = f"{setting.epochs} epoch" + "s" * (setting.epochs > 1)
    if isinstance(setting, MLPSetting):
        return f"{setting.dataset} after {epochs}"
    images = f" on its first {setting.images:,} images" if setting.images else ""
    data = dataset_of(setting).partition("-")[0]
    return (
        f"{data} by {NAMES[setting.network]}, trained dense{images}, "
        f"pruned at once and trained for {epochs} more"
    )
