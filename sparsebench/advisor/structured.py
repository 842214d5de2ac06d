"""Which structure to use: ours with each of them, in time from here, in accuracy from records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparsebench.advisor import accuracies
from sparsebench.advisor.accuracies import Accuracies, AccuracyCost
from sparsebench.advisor.interpolation import from_records
from sparsebench.advisor.on_the_spot import measure_each
from sparsebench.advisor.question import Candidate, Question
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.point import LEAD
from sparsebench.cases.topologies.structured import STRUCTURED, UNSTRUCTURED, check
from sparsebench.errors import InputError
from sparsebench.records import Record
from sparselayers import structures

ANY = "any"


@dataclass(frozen=True)
class Structured:
    """What our layer with a structure would bring, over dense and over unstructured connections.

    `sparsity` is the nearest that the structure has, `memory` the ratio of peaks to the dense
    layer's, `accuracy` what records say that it costs. `on_front` says that no other is known to be
    as fast and as accurate; None where records say nothing of the accuracy of any.
    """

    structure: str
    sparsity: float
    speedup: Estimate
    over_unstructured: Estimate
    memory: float | None
    accuracy: Sequence[AccuracyCost]
    on_front: bool | None = None


@dataclass(frozen=True)
class StructureAdvice:
    """The answer: the fastest structure first, "unstructured" among them.

    `left_out` says of structures why they are no answer here; `source` where the answer comes from.
    """

    question: Question
    candidates: Sequence[Structured]
    left_out: Mapping[str, str]
    source: str

    @property
    def best(self) -> Structured:
        """The fastest, or with the least memory where that was asked for."""
        return self.candidates[0]


def advise_structures(
    question: Question,
    structure: str,
    known: Sequence[Record],
    here: str,
    places: Sequence[Path],
    *,
    by_memory: bool,
    measure_now: bool,
    told: Callable[[str], None],
) -> StructureAdvice | None:
    """Answer for one structure beside unstructured connections, or for "any".

    From the records `known` of the machine `here` where they cover a structure; the others are
    measured, if `measure_now`. None where a time is missing of unstructured connections or of all
    structures. Raises InputError for a structure that is unknown, or does not fit.
    """
    asked, left_out = _fitting(question, structure)
    found = _answers(asked, known, here)
    source = "from records of this machine"
    missing = [asked[name] for name in asked if name not in found]
    if missing and measure_now:
        folder = places[0] / "advise"
        measured = measure_each(missing, folder, told=told)
        now = f"{source}, {len(missing)} of {len(asked)} structures measured now"
        source = now if found else "measured now"
        found |= _answers({n: q for n, q in asked.items() if n not in found}, measured, here)
    elif missing:
        return None
    left_out |= {name: "no time could be taken" for name in asked if name not in found}
    if UNSTRUCTURED not in found or len(found) < 2:
        return None
    trained = accuracies.load(place for place in places if place.exists())
    made = [_structured(name, found, question, trained) for name in found]
    made.sort(key=_by_memory if by_memory else _by_time)
    return StructureAdvice(question, _with_front(made), left_out, source)


def _fitting(question: Question, wanted: str) -> tuple[dict[str, Question], dict[str, str]]:
    """Return the questions by structure, unstructured first, and why others are left out."""
    topologies = {structure: topology for topology, structure in STRUCTURED.items()}
    if wanted not in (ANY, *topologies):
        raise InputError(f"structure must be {ANY} or one of {', '.join(topologies)}: {wanted!r}")
    asked, left_out = {UNSTRUCTURED: question}, {}
    shape = question.out_features, question.in_features
    for name, topology in topologies.items():
        if wanted in (ANY, name):
            try:
                check(structures.named(name), shape, question.sparsity)
            except ValueError as error:
                left_out[name] = str(error)
                continue
            asked[name] = replace(question, topology=topology)
    if len(asked) == 1:
        raise InputError("; ".join(f"structure {name}: {why}" for name, why in left_out.items()))
    return asked, left_out


def _answers(
    asked: Mapping[str, Question], records: Iterable[Record], here: str
) -> dict[str, Candidate]:
    """Return what records say of our layer, by structure."""
    records, found = list(records), {}
    for name, question in asked.items():
        advice = from_records(question, records, here)
        for candidate in advice.candidates if advice else ():
            if candidate.implementation == LEAD:
                found[name] = candidate
    return found


def _structured(
    name: str, found: Mapping[str, Candidate], question: Question, trained: Accuracies
) -> Structured:
    own, plain = found[name], found[UNSTRUCTURED]
    shape = question.out_features, question.in_features
    known = name != UNSTRUCTURED
    return Structured(
        structure=name,
        sparsity=structures.named(name).nearest(shape, question.sparsity),
        speedup=own.speedup,
        over_unstructured=_ratio(own.speedup, plain.speedup) if known else Estimate.exact(1.0),
        memory=own.memory,
        accuracy=accuracies.costs(trained, name, question.sparsity) if known else (),
    )


def _ratio(one: Estimate, other: Estimate) -> Estimate:
    """Return the ratio of two that were measured apart, each beside its own dense layer."""
    return Estimate(one.value / other.value, one.low / other.high, one.high / other.low)


def _with_front(candidates: Sequence[Structured]) -> list[Structured]:
    """Mark those that no other is as fast and as accurate as, of those whose accuracy is known."""
    if not any(each.accuracy for each in candidates):
        return list(candidates)
    return [replace(each, on_front=_on_front(each, candidates)) for each in candidates]


def _on_front(one: Structured, candidates: Sequence[Structured]) -> bool | None:
    if not _known(one):
        return None
    return not any(
        other is not one
        and _known(other)
        and other.speedup.value >= one.speedup.value
        and _total(other) <= _total(one)
        and (other.speedup.value, -_total(other)) != (one.speedup.value, -_total(one))
        for other in candidates
    )


def _known(one: Structured) -> bool:
    return bool(one.accuracy) or one.structure == UNSTRUCTURED


def _total(one: Structured) -> float:
    """Return the mean of what it costs over the datasets; nothing for unstructured."""
    return sum(cost.points for cost in one.accuracy) / max(1, len(one.accuracy))


def _by_time(one: Structured) -> float:
    return -one.speedup.value


def _by_memory(one: Structured) -> float:
    return float("inf") if one.memory is None else one.memory
