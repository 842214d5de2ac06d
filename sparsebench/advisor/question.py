"""What the advisor is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.analysis.baselines import is_dense
from sparsebench.analysis.crossover import Crossover
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.point import BASELINE
from sparsebench.cases.case import DTYPE_BYTES, Case, Phase
from sparsebench.errors import InputError
from sparselayers.fraction import check_sparsity

# What nobody can put into a model: a choice that this suite makes, a mask in every step, the
# library's own oracle, another framework. Of dense layers these are layers of PyTorch: the others
# say how much better a baseline could be.
_NOT_FOR_MODELS = ("auto", "masked", "reference", "jax_bcsr", "openvino_sparse")
_DENSE = (BASELINE, "dense_compiled")


def usable(implementation: str) -> bool:
    """Whether it can be imported in a model."""
    if is_dense(implementation):
        return implementation in _DENSE
    return implementation not in _NOT_FOR_MODELS


@dataclass(frozen=True, kw_only=True)
class Question:
    """A layer, how it is connected and used. Raises InputError where a number makes no sense."""

    in_features: int
    out_features: int
    sparsity: float
    batch: int
    phase: Phase
    threads: int
    device: str = "cpu"
    dtype: str = "float32"
    topology: str = "random"

    def __post_init__(self) -> None:
        for name in ("in_features", "out_features", "batch", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dtype not in DTYPE_BYTES:
            raise InputError(f"dtype must be one of {', '.join(DTYPE_BYTES)}; got {self.dtype!r}")
        try:
            check_sparsity(self.sparsity)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from None

    def case(self, implementation: str, sparsity: float | None = None) -> Case:
        """Return the case that measures `implementation` here."""
        return Case(
            implementation=implementation,
            in_features=self.in_features,
            out_features=self.out_features,
            sparsity=self.sparsity if sparsity is None else sparsity,
            topology=self.topology,
            batch=self.batch,
            device=self.device,
            dtype=self.dtype,
            phase=self.phase,
            threads=self.threads,
        )


@dataclass(frozen=True)
class Candidate:
    """What an implementation would bring over the dense layer; `memory` is the ratio of peaks."""

    implementation: str
    speedup: Estimate
    memory: float | None


@dataclass(frozen=True)
class Advice:
    """The answer: the best candidate first, the dense layer among them.

    `ties` names those whose time the intervals do not tell from the best one's: with any, which of
    them is the fastest cannot be told. `crossover` is the sparsity from which the best sparse
    candidate is faster than dense, None where too few sparsities are known; `source` says where the
    answer comes from.
    """

    question: Question
    candidates: Sequence[Candidate]
    crossover: Crossover | None
    source: str
    ties: Sequence[str] = ()

    @property
    def told(self) -> bool:
        """Whether one is better than all others, as far as intervals can tell."""
        return not self.ties

    @property
    def best(self) -> Candidate:
        """The one to use, or the first of those that cannot be told from each other."""
        return self.candidates[0]
