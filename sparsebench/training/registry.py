"""The experiments that train networks to an accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparsebench.training import mnist, recipe, same_time, same_weights, wide
from sparsebench.training.cifar import rows
from sparsebench.training.data import CIFAR10
from sparsebench.training.setting import Setting


@dataclass(frozen=True)
class Experiment:
    """What an experiment asks, the settings that answer it, and how many seeds it wants."""

    question: str
    settings: Callable[[], list[Setting]]
    seeds: int = 1
    folder: str = ""  # below results; the experiment's own name where nothing is said
    dataset: str = "MNIST"
    timed: Callable[[list[Setting]], list[Setting]] = list  # what is timed, of rows to train


EXPERIMENTS: dict[str, Experiment] = {
    "mnist": Experiment(
        "do the published MNIST accuracies come out?", lambda: list(mnist.ROWS.values())
    ),
    "wide": Experiment("can a net of 50,000 units a layer be trained?", wide.rows),
    "same-weights": Experiment(
        "with the same number of weights: sparse and wide, or dense and narrow?",
        same_weights.rows,
        seeds=3,
    ),
    "same-time": Experiment(
        "in the same time: dense, masked or sparse?", same_time.rows, seeds=3, folder="mnist"
    ),
    "recipe-search": Experiment(
        "which recipes are best on validation images, for dense and for sparse?", recipe.search
    ),
    "cifar-vgg": Experiment(
        "train while pruning: with masks, or in storage that shrinks?",
        rows.vgg,
        dataset=CIFAR10,
        timed=rows.vgg_stages,
    ),
    "cifar-resnet": Experiment(
        "fine-tune a ResNet18 at 95%: with masks, or with the sparse layers that are faster?",
        rows.resnet,
        dataset=CIFAR10,
        timed=rows.resnet_timed,
    ),
    "recipe": Experiment("can sparse equal dense?", recipe.final, seeds=5),
}
