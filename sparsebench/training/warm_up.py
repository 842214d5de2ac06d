"""What is done once before training is timed: code is loaded, kernels are compiled and tuned."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from sparsebench.training.evaluation import TEST_BATCH
from sparsebench.training.settings import CifarSetting, GPTSetting, MLPSetting, Setting
from sparsebench.training.state import Progressing
from sparsebench.training.text import windows


def warm_up(setting: Setting) -> None:
    """Take a step of a small network of this kind, so that code it loads counts for no run.

    On a GPU it is the network itself: kernels are compiled, and tuned, for its own sizes.
    """
    if setting.device != "cpu":
        same = replace(setting, experiment="", row="", seed=0, epochs=1)
        if isinstance(same, MLPSetting):  # there are no data yet to choose connections by
            topology = "random" if same.topology == "correlated" else same.topology
            same = replace(same, topology=topology, at_start="none")
        _warm_up(same)
        return
    _warm_up(_small(setting))


@cache
def _warm_up(setting: Setting) -> None:
    labels = torch.zeros(setting.batch, dtype=torch.long, device=setting.device)
    inputs, tested = torch.zeros(setting.batch, *setting.IMAGE, device=setting.device), TEST_BATCH
    if isinstance(setting, GPTSetting):
        labels = labels[:, None].expand(-1, setting.context)
        inputs, tested = labels, windows.TEST_BATCH
    started = Progressing.start(setting)
    started.step(inputs, labels)
    if setting.device != "cpu":
        with torch.no_grad():
            started.network.eval()(inputs[:1].expand(tested, *inputs.shape[1:]))


def _small(setting: Setting) -> Setting:
    """A small network of the kind of `setting`; of the convolutional ones there is one size."""
    if isinstance(setting, MLPSetting):
        return MLPSetting(
            experiment="", row="", model=setting.model, activation=setting.activation,
            width=50, batch=2,
        )  # fmt: skip
    if isinstance(setting, GPTSetting):
        return GPTSetting(
            experiment="", row="", model=setting.model, activation=setting.activation,
            width=16, heads=2, ff_width=16, layers=1, context=8, batch=2,
        )  # fmt: skip
    assert isinstance(setting, CifarSetting)
    return CifarSetting(
        experiment="", row="", network=setting.network, model="dense", sparsity=0.0, batch=2
    )
