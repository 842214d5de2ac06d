"""Whether a layer remembers: what it has just seen has to take it as long as what it never saw.

Both are single calls after the input was written over: with other numbers, or with those that it
had. So both find it in the same caches, which a core that did not write it has to ask. The first
follows those that were timed: who begins to remember after many calls has had them.

Nobody is accused by calls during which other work had the cores: beside a program that never rests
a long call has always waited for one, and a short one seldom.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from timeit import Timer

import torch
from torch import Tensor, nn

from sparsebench.cases import phases
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.measuring import gpu
from sparsebench.measuring.verification import Incorrect
from sparselayers.cores import Watch

# A call on new numbers may take so much longer than one on the last ones, and so many seconds.
_NEW_OVER_OLD, _NEW_S = 1.5, 20e-6
_PAIRS = 3  # of calls, at least
_PAIRS_S = 0.02  # and as many more as fit into so many seconds
_SLOW_PAIR_S = 0.3  # of pairs that take longer two say enough
_MOST_PAIRS = 15
_SURE = 8  # times as many pairs before anybody is accused,
_AGAIN_S = 0.0, 0.2, 1.0  # after so many seconds each: others' work takes turns of its own


def check(module: nn.Module, given: Problem, case: Case) -> None:
    """Raise Incorrect where a call on numbers that `module` has seen is faster than on new ones."""
    x, dy = given.x, given.dy
    changed = [x] if case.phase == "inference" else [x, dy]
    step = phases.step(module, x, dy, case.phase)
    settle = (lambda: None) if case.device == "cpu" else gpu.of(x.device).synchronize
    with closing(Watch()) as watch:
        pairs = _Pairs(step, settle, changed, watch, zeros=case.input_sparsity > 0)
        pairs.take(1)
        if pairs.slow:  # or it had to wait for a core
            pairs.take(1)
        more = min(_MOST_PAIRS, max(_PAIRS, int(_PAIRS_S / (pairs.old.any + pairs.new.any))))
        pairs.take(0 if pairs.slow else more)
        for pause in _AGAIN_S:
            if pairs.remembered:
                time.sleep(pause)
                pairs.take(2 if pairs.slow else _SURE * more)
    if pairs.remembered:
        raise Incorrect(
            f"a call on new numbers takes {pairs.new.clean / pairs.old.clean:.3g} times as long as "
            "one on those of the call before: it remembers"
        )


def check_making(make: Callable[[], object], other: Callable[[], Callable[[], object]]) -> None:
    """Raise Incorrect where `make` is faster than a first call of what `other` returns.

    Each time that makes a layer as `make` does, of connections that nobody has asked for before.
    """
    old, new = _Least(), _Least()
    with closing(Watch()) as watch:
        for pause in (0.0, *_AGAIN_S):
            time.sleep(pause)
            for _ in range(_PAIRS if old.any + new.any > _SLOW_PAIR_S else _MOST_PAIRS):
                old.take(Timer(make), watch)
                new.take(Timer(other()), watch)
                if _told(old, new) and not _remembered(old, new):
                    return
    if not _remembered(old, new):
        return
    raise Incorrect(
        f"to make a layer of new connections takes {new.clean / old.clean:.3g} times as long as "
        "one of those of the call before: it remembers them"
    )


class _Least:
    """The least time of calls: of any, and of those that had their cores."""

    def __init__(self) -> None:
        self.any = self.clean = float("inf")

    def take(self, timer: Timer, watch: Watch, settle: Callable[[], None] = lambda: None) -> None:
        """Take the time of one more call."""
        watch.begin()
        start = time.perf_counter()
        timer.timeit(1)
        settle()
        taken = time.perf_counter() - start
        self.any = min(self.any, taken)
        if not watch.end(taken).spoiled:
            self.clean = min(self.clean, taken)


def _told(old: _Least, new: _Least) -> bool:
    """Return whether there are calls of both kinds that had their cores."""
    return max(old.clean, new.clean) < float("inf")


def _remembered(old: _Least, new: _Least) -> bool:
    """Return whether what is new takes longer, where that is told at all."""
    return _told(old, new) and new.clean > _NEW_OVER_OLD * old.clean + _NEW_S


class _Pairs:
    """Calls on what was just seen and on what never was, in turns: the least time of each."""

    def __init__(
        self,
        step: Callable[[], object],
        settle: Callable[[], None],
        changed: list[Tensor],
        watch: Watch,
        *,
        zeros: bool,
    ) -> None:
        self._settle, self._changed, self._zeros = settle, changed, zeros
        self._watch = watch
        # Called as it was when times were taken, whoever looks at who calls.
        self._timer = Timer(step)
        self.old, self.new = _Least(), _Least()

    def take(self, pairs: int) -> None:
        for _ in range(pairs):
            self._after_writing(self.old, other=False)
            self._after_writing(self.new, other=True)

    @property
    def slow(self) -> bool:
        return self.old.any + self.new.any > _SLOW_PAIR_S

    @property
    def remembered(self) -> bool:
        return _remembered(self.old, self.new)

    def _after_writing(self, least: _Least, *, other: bool) -> None:
        with torch.no_grad():
            for tensor in self._changed:
                if not other:
                    # Past what counts versions: who remembers by that is to take it for the old.
                    tensor.data.mul_(1.0 + 0.0 * (tensor != 0) if self._zeros else 1.0)
                    continue
                # Which changes a number of any type, and so all that follows; zeros stay zeros.
                tensor.add_((tensor != 0) * 2**-4 if self._zeros else 2**-4)
        self._settle()
        least.take(self._timer, self._watch, self._settle)
