"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sparsebench.training import settings
from sparsebench.training.settings import Setting

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with what is wrong with it and what to do."""


def path_of(folder: Path, setting: Setting) -> Path:
    """Return where the checkpoint of `setting` is kept below `folder`."""
    name = hashlib.sha256(setting.key.encode()).hexdigest()[:16]
    return folder / "checkpoints" / f"{setting.experiment}-{name}.pt"


def save(path: Path, setting: Setting, state: dict[str, Any]) -> None:
    """Write `state` so that at every moment either the old or the new checkpoint is there, whole.

    `state` holds tensors, numbers, strings, lists and dictionaries alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".tmp")
    content = {
        "format": FORMAT,
        "setting": setting.columns,
        "random": torch.get_rng_state(),
        **state,
    }
    try:
        with half.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path}: cannot be written: {error.strerror or error}; "
            "the checkpoint before it, if there was one, is intact"
        ) from error


def load(file: Path | BinaryIO, setting: Setting, *, name: Path | None = None) -> dict[str, Any]:
    """Return the state saved in `file`, and set PyTorch's global generator as it was then.

    Tensors are on the CPU. `name` is what errors call the file, where it is no path itself.

    Raises CheckpointError where the file is damaged, or the checkpoint of another setting.
    """
    content = read(file, name=name)
    saved: Setting = content["setting"]
    if differences := saved.differences(setting):
        raise CheckpointError(
            f"{name or file} is the checkpoint of another run: it has {', '.join(differences)}; "
            f"{_WAY_OUT}"
        )
    torch.set_rng_state(content["random"])
    return content


def read(file: Path | BinaryIO, *, name: Path | None = None) -> dict[str, Any]:
    """Return what is in `file`, with its Setting; raises CheckpointError where it is damaged."""
    path = name or file
    try:
        content: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # of many kinds, as the file is damaged here or there
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no whole checkpoint ({reason}); {_WAY_OUT}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of format {FORMAT}; {_WAY_OUT}")
    try:
        return content | {"setting": settings.read(content["setting"])}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is of another version ({error}); {_WAY_OUT}") from error


_WAY_OUT = "delete it, or start over with --fresh"


def remove(path: Path) -> None:
    """Delete the checkpoint, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
