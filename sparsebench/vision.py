"""torchvision, imported where it is needed: that takes half a second, and it may not be usable."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from sparsebench.errors import InputError


def part(name: str) -> Any:
    """Return a module of torchvision, such as "models".

    Raises InputError where torchvision is missing, or was made for another PyTorch.
    """
    try:
        return importlib.import_module(f"torchvision.{name}")
    except (ImportError, OSError, RuntimeError) as error:  # the last two of one for another PyTorch
        raise InputError(
            f"torchvision cannot be imported ({error}): install the one that belongs to PyTorch "
            f"{torch.__version__}, as you installed that"
        ) from None
