"""Whether a structure fits the layers of a network, and has the sparsity that is asked for."""

from __future__ import annotations

from sparsebench.training.settings.base import Setting, SettingError
from sparselayers.structures import Structure, named

_NEAR = 0.1  # by how much of the connections asked for their number may differ


def fitting(structure: str, shape: tuple[int, int]) -> Structure:
    """Return the structure of that name; raises SettingError where it fits no such layer."""
    try:
        found = named(structure)
        found.check_shape(shape)
    except ValueError as error:
        raise SettingError("structure", f"one that fits: {error}", structure) from None
    return found


def check_nearest(
    setting: Setting, structure: Structure, shape: tuple[int, int], field: str = "sparsity"
) -> None:
    """Raise SettingError unless a structure has the sparsity of a field, or nearly."""
    asked = getattr(setting, field)
    try:
        nearest = structure.nearest(shape, asked)
    except ValueError as error:
        raise SettingError(field, f"one that {structure} has: {error}", asked) from None
    if abs(nearest - asked) > _NEAR * (1 - asked):
        raise SettingError(field, f"{nearest:.6g} with structure {structure}", asked)
