"""What is checked once a time was taken: that what was timed was the work, all of it, every time.

A first call that is right says nothing of the thousands that are timed: they see the same numbers,
so that an answer could be remembered, a gradient kept, a step left out. Looked at are, in this
order: the number of threads, and of cores that were busy; the input, which belongs to the caller;
how far all timed steps together have moved the weights; how long a call takes on numbers it has
never seen, beside one on what it has just seen (`remembering`); and output and gradients on other
inputs and with other weights (`other_numbers`). The numbers are drawn from a seed that nobody knows
before; the message of a failure names it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.cases import phases, problem
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations import Implementation
from sparsebench.measuring import machine, other_numbers, remembering
from sparsebench.measuring.timing import Times
from sparsebench.measuring.verification import Incorrect, judge

_TICK_S = 4e-3  # between two looks of the kernel at what runs: a usual one
_CORES = 0.3  # beyond the threads of a case, that timed calls may keep busy: others only round
_PLACES = 4096  # of a parameter that are looked at for how far it moved
_VAGUE = 0.5  # a rounding error of more than this share of a move says nothing of it


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
    times: Times,
    seed: int,
    first: bool = True,
) -> dict[str, float]:
    """Check `module` after `times` of the phase of `case` were taken; return the errors by name.

    `given` is the problem with what was timed, `x` and `dy`, which are written over. `before` are
    the parameters before the first call; `seed` draws the other numbers. What only times
    can show is looked at in the `first` round of a case alone.

    Raises Incorrect where something is wrong, RuntimeError where a gradient is missing.
    """
    generator = torch.Generator().manual_seed(seed)
    _check_threads(case, times)
    _check_moves(module, before, times.calls, generator)
    if first:
        remembering.check(module, given, case)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), before, strict=False):
            parameter.copy_(value)
    if case.phase == "rewiring":
        given = implementation.now(module, given)
    errors = other_numbers.errors(implementation, module, case, given, generator)
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


def _check_threads(case: Case, times: Times) -> None:
    """Raise Incorrect where more threads work than a case has: PyTorch's, or a library's own."""
    if (threads := torch.get_num_threads()) != case.threads:
        raise Incorrect(f"it set PyTorch to {threads} threads; the case has {case.threads}")
    # More cores than there are nobody keeps busy, whatever the kernel has counted.
    if times.strains and case.threads < machine.usable_threads():
        busy, doubt = _cores_busy(times)
        if busy > case.threads + _CORES + doubt:
            raise Incorrect(f"its calls kept {busy:.2g} cores busy; the case has {case.threads}")


def _cores_busy(times: Times) -> tuple[float, float]:
    """Return how many cores all samples together kept busy, and how far that may be off.

    Of threads other than the one that asks, the kernel counts the time up to its last tick: in one
    sample of a few ticks too much, and in another too little.
    """
    seconds = [sample * times.calls_per_sample for sample in times.samples]
    spent = sum(s * strain.cpu for s, strain in zip(seconds, times.strains, strict=True))
    return spent / sum(seconds), _TICK_S * math.sqrt(len(seconds)) / sum(seconds)


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
