"""Which tile is fastest: tried once for a class of shapes on a model of GPU, and remembered.

And which way to compute, where several come into question (choice.py).

What was found is kept on disk, in a file of the user's cache that another process finds again,
with the time that was spent; where platformdirs is not installed, which knows that place, each
process tries anew. `SPARSEBENCH_TUNING=off` takes a fixed choice instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch

from sparselayers.accelerator import Accelerator
from sparselayers.backends import kept
from sparselayers.backends.triton_kernels.tiles import Tile

_VARIABLE = "SPARSEBENCH_TUNING"
_MS = {"warmup": 1, "rep": 2}  # for each tile
_FORMAT = 1  # to be raised where a kernel changes so much that other tiles may be fastest


Candidate = TypeVar("Candidate", Tile, str)


class Choice(NamedTuple):
    """The fastest tile of a class of shapes, or way, and the seconds that finding it took."""

    tile: Tile | str
    seconds: float


def off() -> bool:
    """Return whether nothing is to be tried (`SPARSEBENCH_TUNING=off`)."""
    return os.environ.get(_VARIABLE) == "off"


class Tuner:
    """Chooses tiles, each class of shapes once; `seconds` is the time that trying has taken.

    `cost` is the time that finding the tiles in use took, in this process or in an earlier one.
    """

    def __init__(
        self,
        file: Path | None = None,
        time_of: Callable[[Callable[[], object]], float] | None = None,
    ) -> None:
        self._time = time_of or _time_of
        self.seconds = 0.0
        self._used: dict[str, float] = {}
        self._file = file
        self._chosen: dict[str, Choice] | None = None

    @property
    def path(self) -> Path | None:
        """The file that keeps what was found, if there is a place for one."""
        return self._file or kept.of_the_user("triton-tiles.json")

    @property
    def cost(self) -> float:
        """The seconds that trying took for all tiles that were asked for in this process."""
        return sum(self._used.values())

    def choose(
        self,
        key: str,
        tiles: Sequence[Candidate],
        run: Callable[[Candidate], object],
        gpu: Accelerator,
    ) -> Candidate | None:
        """Return the tile, or way, with which `run` is fastest on `gpu`; tried unless it is known.

        A tile that the GPU has not the registers or the shared memory for is passed over. None
        while a CUDA graph is captured: nothing can be tried then. Where no memory is left to try
        in, it is the first of `tiles`, and another process tries again.

        Raises what the first of them raised where none runs.
        """
        if off():
            return tiles[0]
        key = f"{_FORMAT} {gpu.name()} {key}"
        if self._chosen is None:
            self._chosen = self.stored()
        known = self._chosen.get(key)
        if known is None or known.tile not in tiles:
            if gpu.capturing():
                return None
            start, before = time.perf_counter(), self.seconds
            try:
                tile = fastest(tiles, run, self._time)
            except torch.OutOfMemoryError:
                return tiles[0]
            # What a way spent on its tiles counts there.
            spent = time.perf_counter() - start - (self.seconds - before)
            self.seconds += spent
            self._chosen[key] = Choice(tile, round(spent, 3))
            self._save()
        choice = self._chosen[key]
        self._used[key] = choice.seconds
        return cast(Candidate, choice.tile)

    def stored(self) -> dict[str, Choice]:
        """Return what earlier processes found; a file that cannot be read counts as empty."""
        return kept.read(self.path, _choice)

    def _save(self) -> None:
        """Write all that is known, whole or not at all; a cache that cannot be written is none."""
        # Other processes may have added some.
        kept.write(self.path, self.stored() | (self._chosen or {}))


def _choice(entry: Any) -> Choice:
    tile, seconds = entry
    return Choice(tile if isinstance(tile, str) else Tile(*tile), seconds)


def fastest(
    tiles: Sequence[Candidate],
    run: Callable[[Candidate], object],
    time_of: Callable[[Callable[[], object]], float],
) -> Candidate:
    """Return the tile, or the way, with the least time."""
    best: Candidate | None = None
    least, first_error = float("inf"), None
    for tile in tiles:
        call = partial(run, tile)
        try:
            call()  # compiles
            spent = time_of(call)
        except Exception as error:
            if not _passed_over(error):
                raise
            first_error = first_error or error
            continue
        if spent < least:
            best, least = tile, spent
    if best is None:
        assert first_error is not None
        raise first_error
    return best


def _time_of(call: Callable[[], object]) -> float:
    """Return the median time of `call`, in ms, with the L2 cache cold as in a large model."""
    from triton.testing import do_bench  # not installed where there is no GPU, and nothing to tune

    return float(do_bench(call, **_MS, return_mode="median"))


def _passed_over(error: Exception) -> bool:
    """Whether `error` says that a tile is too large for the GPU."""
    return type(error).__name__ == "OutOfResources"


TUNER = Tuner()
