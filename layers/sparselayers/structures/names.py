"""Structures by their names: "8x1", "2:4", "fan-in", "unstructured"."""

from __future__ import annotations

import re

from sparselayers.structures.blocks import Blocks
from sparselayers.structures.constant_fan_in import ConstantFanIn
from sparselayers.structures.n_of_m import NofM
from sparselayers.structures.structure import Structure
from sparselayers.structures.unstructured import Unstructured

_BLOCKS = re.compile(r"(\d+)[x×](\d+)")
_N_OF_M = re.compile(r"(\d+):(\d+)")
_ALONE = {each.name: each for each in (Unstructured(), ConstantFanIn())}


def named(name: str | Structure | None) -> Structure:
    """Return the structure of a name; a structure is itself, and None unstructured.

    Raises ValueError, with what there is, for any other.
    """
    if isinstance(name, Structure):
        return name
    if name is None:
        return Unstructured()
    if isinstance(name, str):
        if name in _ALONE:
            return _ALONE[name]
        if found := _BLOCKS.fullmatch(name):
            return Blocks(int(found[1]), int(found[2]))
        if found := _N_OF_M.fullmatch(name):
            return NofM(int(found[1]), int(found[2]))
    raise ValueError(
        f"structure must be blocks such as 8x1 or 16x16, N:M such as 2:4, "
        f"{' or '.join(reversed(_ALONE))}, got {name!r}"
    )
