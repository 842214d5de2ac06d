"""The convolutional networks over CIFAR-10: dense, or pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from sparsebench.training.datasets import cifar10
from sparsebench.training.settings.base import Setting, SettingError
from sparselayers.structures import NofM, Unstructured, named

Network = Literal["vgg11_bn", "resnet18"]
Model = Literal["dense", "masked", "sparse"]
Pruning = Literal["none", "once", "gradual"]
Swap = Literal["all", "faster", "sparseprop"]
Rewiring = Literal["none", "rigl", "set"]
Augmentation = Literal["none", "crop_and_flip"]


@dataclass(frozen=True, kw_only=True)
class CifarSetting(Setting):
    """How such a network is pruned to `sparsity`: at once, or gradually while it trains.

    Then `model` says how: with masks of torch.nn.utils.prune, or in sparse storage; and `swap`,
    which layers are sparse: all, those that are measured to be faster so, or all by means of
    SparseProp. It starts as the trained network of the row `start`, if one is named.

    With a `structure` ("8x1", "2:4", "fan-in": see `sparselayers.structures`) layers are pruned to
    it; those that it does not fit, such as ten outputs in blocks of eight, stay dense.

    With `rewiring` what was pruned at once is rewired every `update_every` steps before step
    `stop_after`; `fraction` is the share of the connections that the first rewiring moves.

    With an `augmentation` training images are changed at random each time that they are seen (see
    sparsebench/training/cifar/augmentation.py).
    """

    IMAGE: ClassVar[tuple[int, ...]] = cifar10.SHAPE

    network: Network
    model: Model = "sparse"
    dataset: str = "cifar10"
    pruning: Pruning = "none"
    swap: Swap = "all"
    start: str = ""
    structure: str = "unstructured"
    augmentation: Augmentation = "none"
    rewiring: Rewiring = "none"
    update_every: int = 1000
    fraction: float = 0.1
    stop_after: int = 150_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("processes", self.processes == 1, f"1 for {self.network}")
        allowed = ("dense",) if self.pruning == "none" else ("masked", "sparse")
        self._require(
            "model", self.model in allowed, f"{' or '.join(allowed)} with pruning {self.pruning!r}"
        )
        sparse = self.model == "sparse" and self.swap == "all"
        rewired = sparse and self.pruning == "once"
        alone = "none but for model 'sparse', swap 'all' and pruning 'once'"
        self._require("rewiring", rewired or self.rewiring == "none", alone)
        self._at_least_one("update_every", "stop_after")
        self._require("fraction", 0 < self.fraction <= 1, "in (0, 1]")
        try:
            structure = named(self.structure)
        except ValueError as error:
            raise SettingError("structure", f"one that there is: {error}", self.structure) from None
        if structure == Unstructured():
            return
        self._require("structure", sparse, "unstructured but for model 'sparse' and swap 'all'")
        if isinstance(structure, NofM):
            own = 1 - structure.n / structure.m
            exact = math.isclose(self.sparsity, own, abs_tol=1e-6)
            self._require("sparsity", exact, f"{own:.6g} with structure {structure}")
