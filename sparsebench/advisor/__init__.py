"""Which implementation to use for a layer, on this machine: from records, or measured now.

`interpolation` answers from records, `on_the_spot` measures where none do. Uses `measuring` and
`analysis`, and what they use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sparsebench import records
from sparsebench.advisor.interpolation import from_records
from sparsebench.advisor.on_the_spot import measure
from sparsebench.advisor.question import Advice, Candidate, Question
from sparsebench.cases.case import Phase
from sparsebench.measuring import machine

__all__ = ["Advice", "Candidate", "Question", "advise"]

FOLDER = Path("results")


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
) -> Advice | None:
    """Say which implementation serves a linear layer of random connections best on this machine.

    Sizes count features, `batch` samples; `train` asks for forward and backward instead of
    inference. Records below `folders` answer where they cover the question. Otherwise it is
    measured now, in some 20 seconds and three processes of each case, alone on this machine, and
    the records are kept in the first folder's `advise`; `told` is called with what it waits for.
    None without `measure_now`. Raises InputError for numbers that make no sense and for a problem
    that cannot be measured here.
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
    advice = from_records(question, known, here, by_memory=by_memory)
    if advice is not None or not measure_now:
        return advice
    found = list(measure(question, (places or [FOLDER])[0] / "advise", told=told))
    advice = from_records(question, found, here, by_memory=by_memory)
    return None if advice is None else replace(advice, source="measured now")
