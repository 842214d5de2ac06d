"""Which implementation to use for a layer, on this machine: from records, or measured now.

`interpolation` answers from records, `on_the_spot` measures where none do; `structured` answers
which structure to use, with what `accuracies` says that it costs. Uses `measuring` and `analysis`,
and what they use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Required, TypedDict, Unpack, overload

from sparsebench import records
from sparsebench.advisor.accuracies import AccuracyCost
from sparsebench.advisor.interpolation import from_records
from sparsebench.advisor.on_the_spot import measure
from sparsebench.advisor.question import Advice, Candidate, Question
from sparsebench.advisor.structured import ANY, StructureAdvice, Structured, advise_structures
from sparsebench.cases.case import Phase
from sparsebench.measuring import machine

__all__ = [
    "ANY",
    "AccuracyCost",
    "Advice",
    "Candidate",
    "Question",
    "StructureAdvice",
    "Structured",
    "advise",
]

FOLDER = Path("results")


class _Asked(TypedDict, total=False):
    sparsity: Required[float]
    batch: Required[int]
    train: bool
    by_memory: bool
    device: str
    dtype: str
    threads: int | None
    folders: Iterable[Path | str]
    measure_now: bool
    told: Callable[[str], None]


@overload
def advise(
    in_features: int, out_features: int, *, structure: None = None, **asked: Unpack[_Asked]
) -> Advice | None: ...


@overload
def advise(
    in_features: int, out_features: int, *, structure: str, **asked: Unpack[_Asked]
) -> StructureAdvice | None: ...


def advise(
    in_features: int,
    out_features: int,
    *,
    sparsity: float,
    batch: int,
    train: bool = False,
    by_memory: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    folders: Iterable[Path | str] = (FOLDER,),
    measure_now: bool = True,
    told: Callable[[str], None] = lambda what: None,
    structure: str | None = None,
) -> Advice | StructureAdvice | None:
    """Say which implementation serves a linear layer of random connections best on this machine.

    Sizes count features, `batch` samples; `train` asks for forward and backward instead of
    inference. Records below `folders` answer where they cover the question. Otherwise it is
    measured now, in some 20 seconds and three processes of each case, alone on this machine, and
    the records are kept in the first folder's `advise`; what other work disturbed is taken again,
    for half as long or ten seconds; `told` is called with what it waits for and what was disturbed.
    None without `measure_now`, and where all times stay disturbed. Raises InputError for numbers
    that make no sense and for a problem that cannot be measured here.

    With a `structure`, "any" or one such as "8x1", it says how much faster our layer is so than
    with unstructured connections, measuring each in some six seconds, and what records of training
    below the folders say that it costs in accuracy.
    """
    phase: Phase = "forward_backward" if train else "inference"
    question = Question(
        in_features=in_features,
        out_features=out_features,
        sparsity=sparsity,
        batch=batch,
        phase=phase,
        threads=threads or machine.default_threads(),
        device=device,
        dtype=dtype,
    )
    here = machine.fingerprint()["id"]
    places = [Path(folder) for folder in folders]
    known = [record for place in places if place.exists() for record in records.load(place)]
    if structure is not None:
        return advise_structures(
            question,
            structure,
            known,
            here,
            places or [FOLDER],
            by_memory=by_memory,
            measure_now=measure_now,
            told=told,
        )
    advice = from_records(question, known, here, by_memory=by_memory)
    if advice is not None or not measure_now:
        return advice
    found = measure(question, (places or [FOLDER])[0] / "advise", told=told)
    advice = from_records(question, found, here, by_memory=by_memory)
    return None if advice is None else replace(advice, source="measured now")
