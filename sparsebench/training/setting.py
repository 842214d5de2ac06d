"""What one training run is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Model = Literal["dense", "masked", "sparse", "wide"]
Topology = Literal["random", "user", "small_world"]
Rewiring = Literal["none", "rigl", "set"]
Activation = Literal["relu", "kwinners"]
Output = Literal["sparse", "dense", "erdos_renyi"]
Init = Literal["linear", "fan_in"]
Schedule = Literal["constant", "cosine"]
Network = Literal["mlp", "vgg11_bn", "resnet18"]
Pruning = Literal["none", "once", "gradual"]
Swap = Literal["all", "faster", "sparseprop"]

CHOICES: dict[str, tuple[str, ...]] = {
    "model": get_args(Model),
    "topology": get_args(Topology),
    "rewiring": get_args(Rewiring),
    "activation": get_args(Activation),
    "output": get_args(Output),
    "init": get_args(Init),
    "schedule": get_args(Schedule),
    "network": get_args(Network),
    "pruning": get_args(Pruning),
    "swap": get_args(Swap),
}

_COUNTS = ("width", "update_every", "stop_after", "epochs", "batch", "threads", "processes")
# What says how the MLP is built, and nothing of other networks.
_OF_THE_MLP = (
    "topology", "rewiring", "width", "activation", "output", "init", "update_every", "fraction",
    "stop_after",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model trained in one way on one dataset from one seed. Its `key` names it for ever.

    `row` is what tables call it. `sparsity` is that of each sparse layer; `output` says whether
    the last layer of a sparse model is as sparse, or dense, or ("erdos_renyi") whether the model as
    a whole has `sparsity`, spread over the layers in proportion to their neurons. `held_out`
    training images are taken as validation set in the place of the test set (0: none).
    Connections are rewired every `update_every` steps before step `stop_after`; `fraction` is the
    share of them that the first rewiring moves. `seed` fixes the connections, the initial weights
    and the order of the data. `batch` images make a step, shared out among all `processes`;
    `threads` are those of each of them.

    Other networks than the MLP are dense, or pruned to `sparsity`: at once, or gradually while they
    train. Then `model` says how: with masks of torch.nn.utils.prune, or in sparse storage; and
    `swap`, which layers are sparse: all, those that are measured to be faster so, or all by means
    of SparseProp. They start as the trained network of the row `start`, if one is named. `images`
    is how many of the training images are used (0: all).

    Raises ValueError, naming field, value and what is allowed, for a setting that makes no sense.
    """

    experiment: str
    row: str
    model: Model = "sparse"
    topology: Topology = "random"
    rewiring: Rewiring = "none"
    sparsity: float = 0.9
    width: int = 2000
    activation: Activation = "relu"
    output: Output = "sparse"
    init: Init = "linear"
    update_every: int = 1000
    fraction: float = 0.1
    stop_after: int = 150_000
    dataset: str = "mnist"
    held_out: int = 0
    epochs: int = 10
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    processes: int = 1
    network: Network = "mlp"
    pruning: Pruning = "none"
    swap: Swap = "all"
    start: str = ""
    images: int = 0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}"
                )
        for name in (
            "width",
            "update_every",
            "stop_after",
            "epochs",
            "batch",
            "threads",
            "processes",
        ):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        whole = self.batch % self.processes == 0
        _require(self, "batch", whole, f"a multiple of the {self.processes} processes")
        for name in ("held_out", "seed", "weight_decay", "images"):
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        if self.model == "wide":
            _require(self, "width", self.width % 10 == 0, "a multiple of 10 for the wide net")
        _require(self, "lr", self.lr > 0, "above 0")
        _require(self, "momentum", 0 <= self.momentum < 1, "in [0, 1)")
        _require(self, "fraction", 0 < self.fraction <= 1, "in (0, 1]")
        _require(self, "sparsity", 0 <= self.sparsity < 1, "in [0, 1)")
        if self.network != "mlp":
            self._check_pruned()

    def _check_pruned(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name in _OF_THE_MLP:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name} is an option of the MLP, not of {self.network}; "
                    f"got {getattr(self, name)!r}"
                )
        _require(self, "processes", self.processes == 1, f"1 for {self.network}")
        allowed = ("dense",) if self.pruning == "none" else ("masked", "sparse")
        _require(self, "model", self.model in allowed,
                 f"{' or '.join(allowed)} with pruning {self.pruning!r}")  # fmt: skip

    @property
    def key(self) -> str:
        """All fields as `name=value`, in the order of their definition."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    def differences(self, other: Setting, *, ignoring: tuple[str, ...] = ()) -> list[str]:
        """Name the fields in which `other` is another setting, each with both values."""
        return [
            f"{field.name}: {mine!r} against {theirs!r}"
            for field in fields(self)
            if field.name not in ignoring
            and (mine := getattr(self, field.name)) != (theirs := getattr(other, field.name))
        ]


def _require(setting: Any, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {getattr(setting, name)}")
