"""Models by name, with random weights, each with an input that it takes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sparsebench import vision
from sparsebench.errors import InputError
from sparsebench.models import transformers_models

Config = Mapping[str, Any]

BATCH = 8  # where nobody says


@dataclass(frozen=True)
class Architecture:
    """A model, and an example of its input: a tensor, or keyword arguments."""

    model: nn.Module
    example: Any


Maker = Callable[[str, tuple[int, ...], dict[str, Any]], Architecture]


def make(
    name: str, *, shape: tuple[int, ...] = (), config: Config | None = None, seed: int = 0
) -> Architecture:
    """Return the model called `name`, whose weights are drawn with `seed`, and an input of `shape`.

    torchvision:NAME and timm:NAME are models of images; transformers:TYPE is one of a model type
    of transformers, such as bert, with `config` over the defaults of its configuration;
    MODULE:FUNCTION is what a function returns, to which `config` is given. Without a shape the
    input is as the library says, in batches of 8. Nothing is downloaded.

    Raises InputError where there is none of the name, the library is missing, the model cannot be
    made, or no shape is known.
    """
    library, _, which = name.partition(":")
    if not library or not which:
        raise InputError(
            f"{name}: expected torchvision:NAME, timm:NAME, transformers:TYPE or MODULE:FUNCTION"
        )
    torch.manual_seed(seed)
    own: dict[str, Maker] = {
        "torchvision": _torchvision,
        "timm": _timm,
        "transformers": _transformers,
    }
    maker: Maker = own.get(library, _function)
    return maker(name, shape, dict(config or {}))


def _torchvision(name: str, shape: tuple[int, ...], config: dict[str, Any]) -> Architecture:
    models = vision.part("models")
    which = name.partition(":")[2]
    if which not in (known := models.list_models()):
        near = difflib.get_close_matches(which, known, n=8, cutoff=0.5)
        these = f"it has {', '.join(near)}" if near else "torchvision.models.list_models() has all"
        raise InputError(f"torchvision has no model {which!r}; {these}")
    model = _made(name, lambda: models.get_model(which, weights=None, **config))
    return Architecture(model, torch.randn(shape or (BATCH, 3, 224, 224)))


def _timm(name: str, shape: tuple[int, ...], config: dict[str, Any]) -> Architecture:
    try:
        import timm
    except ImportError:
        raise InputError(f"{name}: timm is needed; install with: pip install timm") from None
    which = name.partition(":")[2]
    if not timm.is_model(which):
        near = ", ".join(timm.list_models(f"{which[:4]}*")[:8]) or "none of a like name"
        raise InputError(f"timm has no model {which!r}; it has {near}")
    model = _made(name, lambda: timm.create_model(which, pretrained=False, **config))
    size = (BATCH, *getattr(model, "default_cfg", {}).get("input_size", (3, 224, 224)))
    return Architecture(model, torch.randn(shape or size))


def _transformers(name: str, shape: tuple[int, ...], config: dict[str, Any]) -> Architecture:
    which = name.partition(":")[2]
    model = _made(name, lambda: transformers_models.build(which, config))
    return Architecture(model, transformers_models.example(model, shape, BATCH))


def _function(name: str, shape: tuple[int, ...], config: dict[str, Any]) -> Architecture:
    module, _, function = name.partition(":")
    # The current folder too, as `python -m` has it; last, so that no file there hides a library.
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name}: {error}") from None
    model = _made(name, lambda: found(**config))
    if not shape:
        raise InputError(f"{name}: the shape of its input is needed, such as --input 64,3,32,32")
    return Architecture(model, torch.randn(shape))


def _made(name: str, make: Callable[[], Any]) -> nn.Module:
    try:
        model = make()
    except InputError:
        raise
    except Exception as error:  # whatever a library's constructor, or the user's, may raise
        raise InputError(f"{name}: cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} returned a {type(model).__name__}, not a torch.nn.Module")
    return model
