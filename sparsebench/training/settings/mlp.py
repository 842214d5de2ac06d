"""The nets of fully connected layers over digits: 784 – width – … – 10, and the very wide one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from sparsebench.training.datasets import digits
from sparsebench.training.settings.base import Setting
from sparsebench.training.settings.structured import check_nearest, fitting
from sparselayers.dynamic.cht import Removal, Score
from sparselayers.dynamic.rewirer import Decay

Model = Literal["dense", "masked", "sparse", "wide"]
Topology = Literal["random", "user", "small_world", "receptive_fields", "correlated"]
Rewiring = Literal["none", "rigl", "set", "mest", "gse", "momentum", "granet", "cht", "chts"]
Activation = Literal["relu", "kwinners"]
Output = Literal["sparse", "dense", "erdos_renyi"]
Init = Literal["linear", "fan_in", "kaiming", "lognormal"]
Norm = Literal["layer", "none"]
Annealing = Literal["none", "cubic", "sigmoid"]
AtStart = Literal["none", "snip", "grasp", "synflow"]
PrunedBy = Literal["removal", "magnitude", "relative"]

_CLASSES = 10
_KEEPING_STRUCTURE = ("none", "rigl", "set", "mest", "momentum", "granet")


@dataclass(frozen=True, kw_only=True)
class MLPSetting(Setting):
    """How such a net is built and rewired.

    `output` says whether the last layer of a sparse model is as sparse, or dense, or
    ("erdos_renyi") whether the model as a whole has `sparsity`, spread over the layers in
    proportion to their neurons. Connections are rewired every `update_every` steps before step
    `stop_after`; `fraction` is the share of them that the first rewiring moves, and those after it
    too where `decay` is constant.

    `removal` and `score` are those of CHT and CHTs, which also drop links that lead nowhere, and
    prune by `pruned_by` (as `removal` says, by default); `randomness` is that of receptive fields.
    With `annealing` layers begin at `initial_sparsity` and reach `sparsity` between the steps
    `anneal_from` and `anneal_until`, pruned every `update_every` steps; without `rewiring` that is
    gradual magnitude pruning. With `at_start` the connections are those that a method which prunes
    before training leaves of all, with one threshold for all sparse layers; the topology has no say
    then.

    With a `structure` ("8x1", "2:4", "fan-in": see `sparselayers.structures`) sparse layers are
    drawn, pruned and rewired within it, at the sparsity that comes nearest; one layer that it does
    not fit, such as ten outputs in blocks of eight, has to be dense.
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
    hidden_layers: int = 1
    norm: Norm = "layer"
    removal: Removal = "magnitude"
    score: Score = "ch2_l3n"
    randomness: float = 0.25
    annealing: Annealing = "none"
    initial_sparsity: float = 0.5
    anneal_from: int = 0
    anneal_until: int = 0
    at_start: AtStart = "none"
    structure: str = "unstructured"
    decay: Decay = "cosine"
    pruned_by: PrunedBy = "removal"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("width", "update_every", "stop_after")
        if self.model == "wide":
            self._require("width", self.width % 10 == 0, "a multiple of 10 for the wide net")
            self._require("hidden_layers", self.hidden_layers == 1, "1 for the wide net")
        self._require("fraction", 0 < self.fraction <= 1, "in (0, 1]")
        self._at_least_one("hidden_layers")
        self._require("randomness", 0 <= self.randomness <= 1, "in [0, 1]")
        if self.topology == "correlated":
            pixels = math.prod(self.IMAGE)
            tiled = self.width % pixels == 0
            dense = self.hidden_layers == 1 and self.output == "dense"
            allowed = f"a multiple of the {pixels} pixels, with correlated layers above"
            self._require("width", tiled or dense, allowed)
        self._check_annealing()
        if self.at_start != "none":
            self._require("model", self.model == "sparse", "sparse with at_start")
            self._require("output", self.output != "erdos_renyi", "sparse or dense with at_start")
            self._require("annealing", self.annealing == "none", "none with at_start")
        if self.structure != "unstructured":
            self._check_structure()
        followed = self.decay == "cosine" or self.model != "masked"
        self._require("decay", followed, "cosine for the masked model")
        chosen = self.pruned_by == "removal" or self.rewiring in ("cht", "chts")
        self._require("pruned_by", chosen, "removal where rewiring is neither cht nor chts")

    @property
    def sparse_shapes(self) -> list[tuple[int, int]]:
        """The shapes (out, in) of the layers that are sparse."""
        sizes = [math.prod(self.IMAGE), *[self.width] * self.hidden_layers]
        shapes = [(after, before) for before, after in itertools.pairwise(sizes)]
        return shapes if self.output == "dense" else [*shapes, (_CLASSES, self.width)]

    def _check_structure(self) -> None:
        keeps = self.rewiring in _KEEPING_STRUCTURE
        for name, holds, allowed in (
            ("model", self.model == "sparse", "sparse"),
            ("topology", self.topology == "random", "random"),
            ("at_start", self.at_start == "none", "none"),
            ("output", self.output != "erdos_renyi", "sparse or dense"),
            ("rewiring", keeps, f"one of {', '.join(_KEEPING_STRUCTURE)}"),
        ):
            self._require(name, holds, f"{allowed}, with a structure")
        for shape in self.sparse_shapes:
            structure = fitting(self.structure, shape)
            reached = ["sparsity"] + ["initial_sparsity"] * (self.annealing != "none")
            for name in reached:
                check_nearest(self, structure, shape, name)
            if structure.group(shape) is not None and self.annealing != "none":
                alone = f"none with annealing and structure {structure}"
                self._require("rewiring", self.rewiring == "none", alone)

    def _check_annealing(self) -> None:
        if self.annealing == "none":
            allowed = "cubic or sigmoid with rewiring 'granet', which prunes"
            self._require("annealing", self.rewiring != "granet", allowed)
            return
        self._require("model", self.model == "sparse", "sparse with annealing")
        even = self.output != "erdos_renyi"
        self._require("output", even, "sparse or dense with annealing")
        ordered = 0 <= self.initial_sparsity <= self.sparsity
        self._require("initial_sparsity", ordered, f"in [0, {self.sparsity}], the last sparsity")
        self._require("anneal_from", self.anneal_from >= 0, "0 or more")
        later = self.anneal_until > self.anneal_from
        self._require("anneal_until", later, f"above anneal_from, which is {self.anneal_from}")
