"""Training shown in TensorBoard as well, where that is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.errors import InputError
from sparsebench.training.loop import Show
from sparsebench.training.metrics import ACCURACY
from sparsebench.training.records import Epoch
from sparsebench.training.settings import Setting

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class _Logging:
    """Passes everything on, and writes each epoch's loss, accuracy, metric and seconds."""

    def __init__(self, inner: Show, folder: Path) -> None:
        self._inner, self._folder = inner, folder
        self.writer: SummaryWriter | None = None
        self._metric = ACCURACY

    def begin(self, setting: Setting, *, epochs_done: int, steps_per_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # needs TensorBoard, which is extra

        self.close()
        self._metric = setting.METRIC
        run = re.sub(r"[^\w.=-]+", "_", f"{setting.experiment}/{setting.row}/{setting.seed}")
        self.writer = SummaryWriter(str(self._folder / run), purge_step=epochs_done + 1)
        self._inner.begin(setting, epochs_done=epochs_done, steps_per_epoch=steps_per_epoch)

    def step(self) -> None:
        self._inner.step()

    def epoch(self, number: int, epoch: Epoch) -> None:
        assert self.writer is not None
        values = {"loss/train": epoch.loss, "accuracy/test": epoch.accuracy}
        if (value := getattr(epoch, self._metric.name)) is not None:
            values[f"{self._metric.name}/test"] = value
        if epoch.seconds is not None:
            values["seconds"] = epoch.seconds
        for name, value in values.items():
            self.writer.add_scalar(name, value, number)
        self._inner.epoch(number, epoch)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


@contextmanager
def logged(show: AbstractContextManager[Show], folder: Path) -> Iterator[Show]:
    """Show training as `show` does, and log each run to a folder of its own below `folder`.

    Raises InputError where TensorBoard is missing.
    """
    if find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs TensorBoard; install with: pip install tensorboard")
    with show as inner:
        logging = _Logging(inner, folder)
        try:
            yield logging
        finally:
            logging.close()
