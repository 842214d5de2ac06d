"""How long cases will take: roughly, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.records import Record

_PROCESS_S = 0.2  # a process, reading the problem, and constant work before and after
_START_S = 4.0  # until there is a process that others are forked from: it imports PyTorch
_ROOFLINE_S = 3.0  # how fast the machine is, for each device, type and number of threads
_GPU_S = 2.0  # what a process takes to begin with CUDA; this and the next are guesses so far
_GPU_FASTER = 50.0  # how many times as fast as two CPU cores
_GPU_SERIES = 3  # of times
_CALLS_BESIDE = 6  # verification, memory and warm-up, in inferences and training steps
_CALLS_AFTER = 4  # verification after each round
_WEIGHTS_PER_S = 1e7  # drawing connections and loading them
_COMPARED_PER_S = 1e8  # units among which winners are found
_CHOSEN_PER_S = 5e7  # places looked at for where connections are to grow


class Estimator:
    """Estimates from an earlier record of the same case, or from a rough rate of its kind."""

    def __init__(self, settings: Settings, earlier: Iterable[Record] = ()) -> None:
        self.settings = settings
        self._earlier = {r.case.key: r.wall_s / max(1, r.round_count) for r in earlier}

    def __call__(self, case: Case) -> float:
        """Return the seconds that `case` will take, all its rounds and their processes."""
        if seconds := self._earlier.get(case.key):
            return seconds * self.settings.rounds
        implementation = IMPLEMENTATIONS[case.implementation]
        if implementation.unavailable() or implementation.unsupported(case):
            return 0.0
        inference = implementation.flops(case) / implementation.gflops / 1e9
        if case.operation == "k_winners":
            inference = case.batch * case.inputs / _COMPARED_PER_S
        setup, series = _PROCESS_S + implementation.setup_s, 1
        if case.device != "cpu":
            inference, setup, series = inference / _GPU_FASTER, setup + _GPU_S, _GPU_SERIES
        call = inference if case.phase == "inference" else 3 * inference
        if case.phase == "construction":
            call = case.nnz / _WEIGHTS_PER_S
        if case.phase == "rewiring":
            call += case.weights / _CHOSEN_PER_S
        rounds = self.settings.rounds
        timed = rounds * series * max(self.settings.sample_s, 3 * call)
        beside = _CALLS_BESIDE * 2 * inference + rounds * (setup + _CALLS_AFTER * call)
        return timed + beside + (rounds + 1) * case.nnz / _WEIGHTS_PER_S

    def whole(self, cases: Iterable[Case]) -> float:
        """Return the seconds of a run: those of its cases, and what comes before the first."""
        seconds = {case: self(case) for case in cases}
        conditions = {(c.device, c.dtype, c.threads) for c, needed in seconds.items() if needed}
        start = _START_S + _ROOFLINE_S * len(conditions) if conditions else 0.0
        return start + sum(seconds.values())
