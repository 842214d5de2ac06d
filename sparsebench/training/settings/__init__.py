"""What one training run is: for each kind of network a setting of its own, over a common base.

A setting is frozen and checks itself; its `columns` are those of records, and make its key. Uses
the `datasets` and `metrics` of `training`, and the library's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparsebench.training.settings.base import Setting, SettingError
from sparsebench.training.settings.cifar import CifarSetting
from sparsebench.training.settings.columns import COLUMNS
from sparsebench.training.settings.gpt import GPTSetting
from sparsebench.training.settings.mlp import MLPSetting

__all__ = [
    "KINDS",
    "CifarSetting",
    "GPTSetting",
    "MLPSetting",
    "Setting",
    "SettingError",
    "names_of",
    "read",
]

# The kind of setting that belongs to a network.
KINDS: dict[str, type[Setting]] = {
    network: kind
    for kind in (MLPSetting, CifarSetting, GPTSetting)
    for network in kind.CHOICES["network"]
}


def names_of(kind: type[Setting]) -> list[str]:
    """Return the names of the fields of a kind of setting."""
    return [field.name for field in fields(kind)]


def read(columns: Any) -> Setting:
    """Return the setting that a record or a checkpoint has as `columns`.

    What older ones do not say is as it was then: the default. Raises ValueError for what is no
    setting.
    """
    if not isinstance(columns, Mapping):
        raise ValueError(f"a setting has columns, and this is {columns!r}")
    network = columns.get("network", "mlp")
    if network not in KINDS:
        raise SettingError("network", f"one of {', '.join(KINDS)}", network)
    kind = KINDS[network]
    own = {name: value for name, value in columns.items() if name in names_of(kind)}
    for name in columns.keys() - own.keys():
        if name not in COLUMNS or columns[name] != COLUMNS[name]:
            raise ValueError(f"{network} has no {name} to be {columns[name]!r}")
    try:
        return TypeAdapter(kind).validate_python(own)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(": ".join((*map(str, first["loc"]), first["msg"]))) from None
