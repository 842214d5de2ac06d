"""Answers by measuring on the spot, where no record covers the question."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sparsebench import records
from sparsebench.advisor.question import Question, usable
from sparsebench.analysis.estimates import LEAST_ROUNDS
from sparsebench.analysis.point import BASELINE, LEAD
from sparsebench.cases import drawable
from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.errors import InputError
from sparsebench.implementations import IMPLEMENTATIONS, as_exact
from sparsebench.measuring import hostlock, machine, retakes, runner
from sparsebench.measuring.description import fingerprint
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.refusals import refusal
from sparsebench.records import Record, Store

LIMIT_S = 20.0  # for everything; no new problem is begun after the share below
EACH_S = 6.0  # for each of several questions
_SHARE = 0.6
_SETTINGS = Settings(rounds=LEAST_ROUNDS, sample_s=0.03, timeout_s=LIMIT_S)
_QUIET = 0.2  # the fraction of all CPUs that others may take without a word

# Sparsities at which `ours` is measured too, to find from where on it pays.
_AROUND = (0.5, 0.8, 0.95)

_NEVER: tuple[str, ...] = ()  # not to be measured; for tests


def measure(
    question: Question, folder: Path, *, told: Callable[[str], None] = lambda what: None
) -> list[Record]:
    """Measure the question's own problem, then others for the crossover; return their records.

    In the way of a sweep: alone on this machine, in turn, every case in three processes; what other
    work disturbed is taken again at the end, for half as long, ten seconds at least. `told` is
    called with what it waits for, where other programs are busy, and with what they disturbed.
    Records are kept in `folder`, for the next question. Raises InputError where the dense layer or
    ours cannot be measured, with the reason.
    """
    _check(question)
    return _measured((_rivals(question), _around(question)), folder, LIMIT_S, told)


def measure_each(
    questions: Sequence[Question],
    folder: Path,
    *,
    told: Callable[[str], None] = lambda what: None,
) -> list[Record]:
    """Measure ours beside the dense layer for each question, one after the other; as `measure`.

    Each takes some `EACH_S`. Raises InputError as `measure` does.
    """
    for question in questions:
        _check(question)
    contests = [[question.case(name) for name in (BASELINE, LEAD)] for question in questions]
    return _measured(contests, folder, EACH_S * len(contests) / _SHARE, told)


def _check(question: Question) -> None:
    for name in (BASELINE, LEAD):
        if reason := refusal(question.case(name)):
            raise InputError(f"{name} cannot be measured here: {reason}")
    if reason := drawable.undrawable(question.case(LEAD)):
        raise InputError(f"there are no such connections: {reason}")


def _measured(
    batches: Iterable[list[Case]], folder: Path, limit_s: float, told: Callable[[str], None]
) -> list[Record]:
    """Measure one batch of cases after the other, alone on this machine."""
    if (busy := machine.busy()) > _QUIET:
        told(f"other programs take {busy:.0%} of the CPU: intervals will be wide, or wrong")
    with hostlock.measuring(waiting=told), Store(folder) as store:
        begun, measured = time.monotonic(), list[Record]()
        for cases in batches:
            end = begun + _SHARE * limit_s
            measured += runner.run(cases, store, _SETTINGS, machine=fingerprint, deadline=end)
        if not measured:
            return []
        wanted = {record.identity for record in measured}

        def found() -> dict[Case, Record]:
            return {r.case: r for r in records.load(folder) if r.identity in wanted}

        def again(
            known: Mapping[Case, Record], tries: Mapping[Case, runner.Again], once: Settings,
            until: float,
        ) -> None:  # fmt: skip
            loops = runner.loops(known.values())
            for _ in runner.run(
                list(tries), store, once, machine=fingerprint, deadline=until, again=tries,
                loops=loops,
            ):  # fmt: skip
                pass

        taken = retakes.take(store, found, again, _SETTINGS, time.monotonic() - begun)
        if taken.disturbed:
            told(str(taken))
        return list(found().values())


def _rivals(question: Question) -> list[Case]:
    """Return the implementations that can be measured here in time, the quickest estimates."""
    estimate = Estimator(_SETTINGS)
    cases = [question.case(name) for name in IMPLEMENTATIONS if _serves(name)]
    cases = [case for case in cases if not refusal(case)]
    cases.sort(key=lambda case: (case.implementation not in (BASELINE, LEAD), estimate(case)))
    chosen: list[Case] = []
    for case in cases:
        needed = sum(map(estimate, [*chosen, case]))
        if case.implementation in (BASELINE, LEAD) or needed < _SHARE * LIMIT_S:
            chosen.append(case)
    return chosen


def _serves(name: str) -> bool:
    return name not in _NEVER and usable(name) and as_exact(name)


def _around(question: Question) -> list[Case]:
    sparsities: Sequence[float] = [s for s in _AROUND if not math.isclose(s, question.sparsity)]
    return [question.case(name, s) for s in sparsities for name in (BASELINE, LEAD)]
