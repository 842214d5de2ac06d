"""The nets of fully connected layers over digits: 784 – width – 10, and the very wide one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sparsebench.training.datasets import digits
from sparsebench.training.settings.base import Setting

Model = Literal["dense", "masked", "sparse", "wide"]
Topology = Literal["random", "user", "small_world"]
Rewiring = Literal["none", "rigl", "set"]
Activation = Literal["relu", "kwinners"]
Output = Literal["sparse", "dense", "erdos_renyi"]
Init = Literal["linear", "fan_in"]


@dataclass(frozen=True, kw_only=True)
class MLPSetting(Setting):
    """How such a net is built and rewired.

    `output` says whether the last layer of a sparse model is as sparse, or dense, or
    ("erdos_renyi") whether the model as a whole has `sparsity`, spread over the layers in
    proportion to their neurons. Connections are rewired every `update_every` steps before step
    `stop_after`; `fraction` is the share of them that the first rewiring moves.
    """

    IMAGE: ClassVar[tuple[int, ...]] = digits.SHAPE

    network: Literal["mlp"] = "mlp"
    model: Model = "sparse"
    topology: Topology = "random"
    rewiring: Rewiring = "none"
    width: int = 2000
    activation: Activation = "relu"
    output: Output = "sparse"
    init: Init = "linear"
    update_every: int = 1000
    fraction: float = 0.1
    stop_after: int = 150_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("width", "update_every", "stop_after")
        if self.model == "wide":
            self._require("width", self.width % 10 == 0, "a multiple of 10 for the wide net")
        self._require("fraction", 0 < self.fraction <= 1, "in (0, 1]")
