"""What is checked once a time was taken: that what was timed was the work, all of it, every time.

A first call that is right says nothing of the thousands that are timed: they see the same numbers,
so that an answer could be remembered, a gradient kept, a step left out. Looked at are, in this
order: the number of threads; the input, which belongs to the caller; how far all timed steps
together have moved the weights; how long a call takes on numbers it has never seen, beside one on
what it has just seen; and output and gradients on other inputs, and after a step that changes every
weight by about its own size, against the oracle. The numbers are drawn from a seed that nobody
knows before; the message of a failure names it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.cases import phases, problem
from sparsebench.cases.case import Case, Phase
from sparsebench.cases.problem import Problem
from sparsebench.implementations import Implementation
from sparsebench.measuring import gpu, oracle
from sparsebench.measuring.verification import (
    Incorrect,
    activated,
    check_plain,
    drop_gradients,
    gradients,
    judge,
)

_VISITS = 1 << 21  # of weights by samples, at most, that the oracle pays for
_PLACES = 4096  # of a parameter that are looked at for how far it moved
_VAGUE = 0.5  # a rounding error of more than this share of a move says nothing of it

# A call on new numbers may take so much longer than one on the last ones, and so many seconds.
_NEW_OVER_OLD, _NEW_S = 1.5, 20e-6
_PAIRS = 3  # of calls, at least
_PAIRS_S = 0.02  # and as many more as fit into so many seconds
_SLOW_PAIR_S = 0.3  # of pairs that take longer two say enough
_MOST_PAIRS = 15
_SURE = 8  # times as many pairs before anybody is accused,
_AGAIN_S = 0.0, 0.2, 1.0  # after so many seconds each: others' work takes turns of its own


def parameters_before(module: nn.Module, case: Case) -> list[Tensor]:
    """Return copies of what the timed steps of `case` will move; nothing where they do not."""
    if case.phase != "train_step":
        return []
    return [parameter.detach().clone() for parameter in module.parameters()]


def check(
    implementation: Implementation,
    module: nn.Module,
    case: Case,
    given: Problem,
    *,
    before: list[Tensor],
    calls: int,
    seed: int,
    first: bool = True,
) -> dict[str, float]:
    """Check `module` after `calls` timed calls of the phase of `case`; return the errors by name.

    `given` is the problem with what was timed, `x` and `dy`, which are written over. `before` are
    the parameters before the first of the calls; `seed` draws the other numbers. What only times
    can show is looked at in the `first` round of a case alone.

    Raises Incorrect where something is wrong, RuntimeError where a gradient is missing.
    """
    generator = torch.Generator().manual_seed(seed)
    _check_threads(case)
    _check_moves(module, before, calls, generator)
    if first:
        _check_memory(module, given, case)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), before, strict=False):
            parameter.copy_(value)
    if case.phase == "rewiring":
        given = implementation.now(module, given)
    errors = _on_other_numbers(implementation, module, case, given, generator)
    when = f" after timing, on numbers drawn from {seed}"
    judge(errors, implementation.precision or case.dtype, when=when)
    return errors


def timed(x: Tensor, dy: Tensor, folder: Path) -> Problem:
    """Return the problem in `folder` with `x` and `dy`, what was timed, in place of its own.

    Raises Incorrect where calls have changed what they were given, and so what the next one gets.
    """
    drawn = problem.load(folder / "problem.pt", str(x.device))
    for name, used, original in (("input", x, drawn.x), ("gradient", dy, drawn.dy)):
        if not torch.equal(used.detach(), original):
            raise Incorrect(f"the timed calls changed the {name} that they were given")
    return replace(drawn, x=x, dy=dy)


def _check_threads(case: Case) -> None:
    if (threads := torch.get_num_threads()) != case.threads:
        raise Incorrect(f"it set PyTorch to {threads} threads; the case has {case.threads}")


def _check_moves(
    module: nn.Module, before: list[Tensor], calls: int, generator: torch.Generator
) -> None:
    """Raise Incorrect where `calls` steps did not move a parameter by all their gradients.

    The gradient of a linear layer's weights does not depend on them, so that every step is alike.
    Steps that are lost in the rounding of the type say nothing.
    """
    if not calls:
        return
    for (name, parameter), old in zip(module.named_parameters(), before, strict=False):
        if parameter.grad is None:
            raise Incorrect(f"the last timed step left no gradient in {name}")
        places = torch.randint(old.numel(), (min(_PLACES, old.numel()),), generator=generator)
        places = places.to(old.device)
        was, now, slope = (
            tensor.detach().flatten()[places].double()
            for tensor in (old, parameter, parameter.grad)
        )
        expected = -calls * phases.LEARNING_RATE * slope
        size = expected.abs().max()
        # Each step rounds to the nearest number of the type.
        lost = calls * torch.finfo(old.dtype).eps * torch.maximum(was.abs(), now.abs()).max()
        if lost > _VAGUE * size:
            continue
        if (off := (now - was - expected).abs().max()) > lost + 1e-3 * size:
            raise Incorrect(
                f"{calls} timed steps moved {name} by something else than their gradients: "
                f"{off / size:.2g} of the largest move is missing or too much"
            )


def _check_memory(module: nn.Module, given: Problem, case: Case) -> None:
    """Raise Incorrect where a call on the numbers of the last one is faster than one on new ones.

    Both are single calls after the input was written over: with other numbers, or with those that
    it had. So both find it in the same caches, which a core that did not write it has to ask.
    """
    x, dy = given.x, given.dy
    changed = [x] if case.phase == "inference" else [x, dy]
    step = phases.step(module, x, dy, case.phase)
    settle = (lambda: None) if case.device == "cpu" else gpu.of(x.device).synchronize
    pairs = _Pairs(step, settle, changed, zeros=case.input_sparsity > 0)
    pairs.take(1)
    if pairs.slow:  # or it had to wait for a core
        pairs.take(1)
    more = min(_MOST_PAIRS, max(_PAIRS, int(_PAIRS_S / (pairs.old + pairs.new))))
    pairs.take(0 if pairs.slow else more)
    for pause in _AGAIN_S:
        if pairs.remembered:
            time.sleep(pause)
            pairs.take(2 if pairs.slow else _SURE * more)
    if pairs.remembered:
        raise Incorrect(
            f"a call on new numbers takes {pairs.new / pairs.old:.3g} times as long as one on "
            "those of the call before: it remembers"
        )


class _Pairs:
    """Calls on what was just seen and on what never was, in turns: the least time of each."""

    def __init__(
        self,
        step: Callable[[], object],
        settle: Callable[[], None],
        changed: list[Tensor],
        *,
        zeros: bool,
    ) -> None:
        self._step, self._settle, self._changed, self._zeros = step, settle, changed, zeros
        self.old = self.new = float("inf")

    def take(self, pairs: int) -> None:
        for _ in range(pairs):
            self.old = min(self.old, self._after_writing(other=False))
            self.new = min(self.new, self._after_writing(other=True))

    @property
    def slow(self) -> bool:
        return self.old + self.new > _SLOW_PAIR_S

    @property
    def remembered(self) -> bool:
        return self.new > _NEW_OVER_OLD * self.old + _NEW_S

    def _after_writing(self, *, other: bool) -> float:
        with torch.no_grad():
            for tensor in self._changed:
                if not other:
                    # Past what counts versions: who remembers by that is to take it for the old.
                    tensor.data.mul_(1.0 + 0.0 * (tensor != 0) if self._zeros else 1.0)
                    continue
                # Which changes a number of any type, and so all that follows; zeros stay zeros.
                tensor.add_((tensor != 0) * 2**-4 if self._zeros else 2**-4)
        self._settle()
        start = time.perf_counter()
        self._step()
        self._settle()
        return time.perf_counter() - start


def _on_other_numbers(
    implementation: Implementation,
    module: nn.Module,
    case: Case,
    given: Problem,
    generator: torch.Generator,
) -> dict[str, float]:
    """Return the errors on other inputs and gradients, then with other weights as well.

    The weights become others by a step of the optimizer that changes each by about its own size.
    """
    if given.winners:
        return _of_units(implementation, module, given, generator)
    look = _Look(implementation, module, case, given, generator)
    first = kept = torch.empty(0)
    if implementation.trains:
        samples = look.draw()
        # Gradients of independent normal numbers, as many as there are samples and windows.
        rate = (case.out_features / max(1, case.nnz) / samples / case.windows) ** 0.5
        first = look.step("train_step", rate)
        kept = first.clone()
        implementation.forget_absent(module, given)
    look.draw()
    look.step("inference" if case.phase == "inference" else "forward_backward")
    drop_gradients(module, given.x)
    if not torch.equal(first, kept):
        raise Incorrect("an output changes when the layer is called again")
    return look.errors


def _of_units(
    implementation: Implementation, module: nn.Module, given: Problem, generator: torch.Generator
) -> dict[str, float]:
    """Return the errors of an activation on two inputs that it has never seen."""
    errors: dict[str, float] = {}
    for _ in range(2):
        for tensor in (given.x, given.dy):
            drawn = torch.randn(tensor.shape, generator=generator)
            tensor.detach().copy_(drawn)
        for name, error in activated(implementation, module, given).items():
            errors[name] = max(error, errors.get(name, 0.0), key=_badness)
    return errors


class _Look:
    """Single calls on numbers that are drawn for them, and compared on some samples.

    As many samples as the oracle can afford, drawn too: only they have a gradient, so that the
    gradients of the weights, which are sums over the batch, are sums over them.
    """

    def __init__(
        self,
        implementation: Implementation,
        module: nn.Module,
        case: Case,
        given: Problem,
        generator: torch.Generator,
    ) -> None:
        self.errors: dict[str, float] = {}
        self._case = case
        self._implementation, self._module, self._given = implementation, module, given
        self._generator = generator
        self._samples = max(1, min(case.batch, _VISITS // max(1, case.nnz * case.windows)))
        self._chosen = torch.empty(0)
        self._exact = replace(
            given,
            connectivity=given.connectivity.to("cpu"),
            values=given.values.detach().cpu().double(),
            bias=given.bias.detach().cpu().double(),
        )

    def draw(self) -> int:
        """Write new numbers into the problem; return how many samples have a gradient."""
        drop_gradients(self._module, self._given.x)
        x, dy = (
            torch.randn(tensor.shape, generator=self._generator).to(tensor.dtype)
            for tensor in (self._given.x, self._given.dy)
        )
        x = problem.with_zeros(x, self._case)
        chosen = torch.randperm(len(x), generator=self._generator)[: self._samples]
        mask = torch.zeros(len(dy), dtype=torch.bool)
        mask[chosen] = True
        dy[~mask] = 0
        with torch.no_grad():
            self._given.x.copy_(x)
            self._given.dy.copy_(dy)
        self._chosen = chosen.to(self._given.x.device)
        self._exact = replace(self._exact, x=x[chosen], dy=dy[chosen])
        return len(chosen)

    def step(self, phase: Phase, learning_rate: float = 0.0) -> Tensor:
        """Take a step of `phase` and compare it; return its output."""
        given, exact = self._given, oracle.expected(self._exact)
        y = phases.step(self._module, given.x, given.dy, phase, learning_rate=learning_rate)()
        actual = {"output": y}
        if phase != "inference":
            actual |= gradients(self._implementation, self._module, given)
            actual["input"] = actual["input"][self._chosen]
        check_plain(actual, given.x.dtype)
        actual["output"] = y[self._chosen]
        for name, tensor in actual.items():
            error = oracle.relative_error(tensor.cpu(), exact[name])
            # A nan is not below anything, and stays.
            self.errors[name] = max(error, self.errors.get(name, 0.0), key=_badness)
        self._exact = replace(
            self._exact,
            values=self._exact.values - learning_rate * exact["values"],
            bias=self._exact.bias - learning_rate * exact["bias"],
        )
        return y


def _badness(error: float) -> float:
    return float("inf") if error != error else error
