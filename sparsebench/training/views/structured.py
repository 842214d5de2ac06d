"""Networks that are trained with one structure beside the other: what is said of them."""

from __future__ import annotations

from sparsebench.training.groups import Group
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


def data_of(setting: Setting) -> str:
    """Return the dataset as file names say it, with how much of it was trained on."""
    whole = setting.dataset.partition("-first")[0]  # of which more may be at hand than is used
    return f"{whole}-first{setting.images}" if setting.images else setting.dataset


def trained(own: list[Group]) -> str:
    """Say of the groups of one experiment and dataset what was trained, and how long."""
    setting = next((g.setting for g in own if structure_of(g) != "dense"), own[0].setting)
    epochs = f"{setting.epochs} epoch" + "s" * (setting.epochs > 1)
    if isinstance(setting, MLPSetting):
        return f"{setting.dataset} after {epochs}"
    images = f" on its first {setting.images:,} images" if setting.images else ""
    return (
        f"{data_of(setting).partition('-')[0]} by {NAMES[setting.network]}, trained dense{images}, "
        f"pruned at once and trained for {epochs} more"
    )
