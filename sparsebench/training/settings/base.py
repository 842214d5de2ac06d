"""What is set of every network that is trained, and what names it for ever."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from sparsebench.training.metrics import ACCURACY, Metric
from sparsebench.training.settings.columns import COLUMNS, LATER

Schedule = Literal["constant", "cosine", "linear"]


class SettingError(ValueError):
    """A field of a setting has a value that makes no sense: says which is allowed."""

    def __init__(self, field: str, allowed: str, value: object) -> None:
        comma = ";" if allowed.startswith("one of") else ","
        super().__init__(f"{field} must be {allowed}{comma} got {value!r}")
        self.field, self.allowed, self.value = field, allowed, value


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model trained in one way on one dataset from one seed. Its `key` names it for ever.

    `row` is what tables call it. `sparsity` is that of each sparse layer. `held_out` training
    images are taken as validation set in the place of the test set (0: none); `images` is how many
    of the training images are used (0: all). `seed` fixes the connections, the initial weights and
    the order of the data. `batch` images make a step, shared out among all `processes`; `threads`
    are those of each of them.

    A subclass adds what its `network` is built by. Raises SettingError, naming field, value and
    what is allowed, for a setting that makes no sense.
    """

    IMAGE: ClassVar[tuple[int, ...]]  # the shape of what the network takes
    METRIC: ClassVar[Metric] = ACCURACY  # what tables, plots and the terminal say of an epoch
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {}  # the fields that are one of a few words

    experiment: str
    row: str
    model: str = "sparse"
    network: str
    sparsity: float = 0.9
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
    images: int = 0

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls)
        cls.CHOICES = {
            name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal
        }

    def __post_init__(self) -> None:
        for name, allowed in self.CHOICES.items():
            self._require(name, getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        self._at_least_one("epochs", "batch", "threads", "processes")
        whole = self.batch % self.processes == 0
        self._require("batch", whole, f"a multiple of the {self.processes} processes")
        for name in ("held_out", "seed", "weight_decay", "images"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("lr", self.lr > 0, "above 0")
        self._require("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._require("sparsity", 0 <= self.sparsity < 1, "in [0, 1)")

    @property
    def columns(self) -> dict[str, Any]:
        """The setting as records have it: every column, in their order."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return COLUMNS | own

    @property
    def key(self) -> str:
        """All columns as `name=value`, those that came later only where they are not as before."""
        told = {
            name: value
            for name, value in self.columns.items()
            if name not in LATER or value != COLUMNS[name]
        }
        return " ".join(f"{name}={value}" for name, value in told.items())

    def differences(self, other: Setting, *, ignoring: tuple[str, ...] = ()) -> list[str]:
        """Name the columns in which `other` is another setting, each with both values."""
        theirs = other.columns
        return [
            f"{name}: {mine!r} against {theirs.get(name)!r}"
            for name, mine in self.columns.items()
            if name not in ignoring and mine != theirs.get(name)
        ]

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise SettingError(name, allowed, getattr(self, name))

    def _at_least_one(self, *names: str) -> None:
        for name in names:
            self._require(name, getattr(self, name) >= 1, "at least 1")
