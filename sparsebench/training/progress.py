"""What training shows: runs, epochs and batches done, and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sparsebench.training.metrics import ACCURACY
from sparsebench.training.records import Epoch
from sparsebench.training.settings import Setting

_EVERY = 0.1  # seconds between two looks of the bar: as often as it is drawn


class Display:
    """Two bars in a terminal: batches of the run under way, epochs of all runs. Lines in a pipe."""

    def __init__(self, console: Console, settings: list[Setting]) -> None:
        self._console = console
        self._epochs = sum(setting.epochs for setting in settings)
        self._name = ""
        self._of = 0
        self._metric = ACCURACY
        self._untold, self._next = 0, 0.0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        self._all = self._bar.add_task("all runs", total=self._epochs, unit="epochs")
        self._run = self._bar.add_task("", total=None, unit="batches")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, setting: Setting, *, epochs_done: int, steps_per_epoch: int) -> None:
        """Start the bar of a run; say so where it goes on from a checkpoint."""
        self._untold = 0
        self._name, self._of, self._metric = title(setting), setting.epochs, setting.METRIC
        self._bar.reset(
            self._run,
            total=setting.epochs * steps_per_epoch or None,
            completed=epochs_done * steps_per_epoch,
            description=f"{self._name}, epoch {epochs_done + 1}/{self._of}",
        )
        self._bar.advance(self._all, epochs_done)
        if epochs_done:
            self._console.print(
                f"{self._name}: goes on after epoch {epochs_done}", highlight=False, soft_wrap=True
            )

    def step(self) -> None:
        """Count a batch; the bar is told some times a second, for it takes as long as a product."""
        self._untold += 1
        if (now := time.perf_counter()) >= self._next:
            self._next = now + _EVERY
            self._tell()

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Count an epoch and print what it gave."""
        self._tell()
        self._bar.advance(self._all)
        shown = min(number + 1, self._of)
        self._bar.update(self._run, description=f"{self._name}, epoch {shown}/{self._of}")
        seconds = "" if epoch.seconds is None else f", {epoch.seconds:.1f} s"
        self._console.print(
            f"{self._name}: epoch {number}/{self._of}, loss {epoch.loss:.4f}, "
            f"{self._metric.shown(epoch)}{seconds}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _tell(self) -> None:
        self._bar.advance(self._run, self._untold)
        self._untold = 0


def title(setting: Setting) -> str:
    """Name a run as short as it can be told from others."""
    return f"{setting.experiment} / {setting.row} / seed {setting.seed}"
