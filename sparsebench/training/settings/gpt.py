"""The transformer that predicts the next character of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sparsebench.training.datasets import python_stdlib, text
from sparsebench.training.metrics import PERPLEXITY, Metric
from sparsebench.training.settings.base import Schedule, Setting, SettingError
from sparsebench.training.settings.structured import check_nearest, fitting

Model = Literal["dense", "sparse"]
Rewiring = Literal["none", "rigl", "set"]
Activation = Literal["gelu", "relu"]
Init = Literal["linear", "fan_in", "kaiming"]


@dataclass(frozen=True, kw_only=True)
class GPTSetting(Setting):
    """How such a network is built, made sparse and trained.

    It has `layers` blocks of causal attention with so many `heads`, and of a feed-forward part
    `width` – `ff_width` – `width`, over windows of `context` characters; `batch` windows make a
    step. Of a sparse model the feed-forward parts of the `sparse_blocks` are sparse: of all, or of
    those whose numbers, counted from 0, are given with commas ("0,2,3"). With a `structure`
    ("8x1", "2:4": see `sparselayers.structures`) their connections keep it. They are rewired every
    `update_every` steps before step `stop_after`; `fraction` is the share that the first rewiring
    moves.

    With `seconds` the network trains so long, tests not counted, and each of its `epochs` is as
    long a part of that time; without, an epoch has `steps_per_epoch` steps. The learning rate
    rises from a hundredth during the share `warm_up` of the training, then follows `schedule`, by
    time or by steps alike. The optimizer is AdamW, with `momentum` as its first beta.
    """

    IMAGE: ClassVar[tuple[int, ...]] = text.SHAPE
    METRIC: ClassVar[Metric] = PERPLEXITY

    network: Literal["gpt"] = "gpt"
    model: Model = "sparse"
    dataset: str = python_stdlib.NAME
    batch: int = 16
    lr: float = 1e-3
    schedule: Schedule = "cosine"
    layers: int = 6
    heads: int = 4
    width: int = 256
    context: int = 128
    ff_width: int = 1024
    activation: Activation = "gelu"
    sparse_blocks: str = "all"
    structure: str = "unstructured"
    init: Init = "fan_in"
    rewiring: Rewiring = "none"
    update_every: int = 100
    fraction: float = 0.3
    stop_after: int = 150_000
    seconds: float = 0.0
    steps_per_epoch: int = 100
    warm_up: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("layers", "heads", "width", "context", "ff_width")
        self._at_least_one("update_every", "stop_after", "steps_per_epoch")
        whole = self.width % self.heads == 0
        self._require("width", whole, f"a multiple of the {self.heads} heads")
        self._require("fraction", 0 < self.fraction <= 1, "in (0, 1]")
        self._require("seconds", self.seconds >= 0, "0 or more")
        self._require("warm_up", 0 <= self.warm_up < 1, "in [0, 1)")
        for name in ("held_out", "images"):
            self._require(name, getattr(self, name) == 0, f"0 for {self.network}")
        self._require("processes", self.processes == 1, f"1 for {self.network}")
        self._require("nesterov", not self.nesterov, f"false for {self.network}")
        rewired = self.model == "sparse" or self.rewiring == "none"
        self._require("rewiring", rewired, "none for a dense model")
        if self.model == "sparse":
            self._check_sparse()

    @property
    def sparse(self) -> frozenset[int]:
        """The numbers of the blocks with sparse feed-forward parts."""
        if self.model == "dense":
            return frozenset()
        if self.sparse_blocks == "all":
            return frozenset(range(self.layers))
        return frozenset(map(int, self.sparse_blocks.split(",")))

    def _check_sparse(self) -> None:
        allowed = f"all, or numbers from 0 to {self.layers - 1} with commas"
        try:
            known = self.sparse <= set(range(self.layers))
        except ValueError:
            known = False
        if not known:
            raise SettingError("sparse_blocks", allowed, self.sparse_blocks)
        for shape in ((self.ff_width, self.width), (self.width, self.ff_width)):
            structure = fitting(self.structure, shape)
            if self.structure != "unstructured":
                check_nearest(self, structure, shape)
