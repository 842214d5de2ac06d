"""Outputs and gradients on numbers that a layer has never seen.

On two draws, with a step of the optimizer between that changes every weight by about its own size,
they are compared with the oracle's: on as many samples as that can afford, and what all outputs of
each sample, weighted at random, add up to. Then again and again on multiples of the last numbers,
of which the answers follow: somebody may do the work now and then alone. And what one call has
answered is still to be there after the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from timeit import Timer
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases import phases, problem
from sparsebench.cases.case import Case, Phase
from sparsebench.cases.problem import Problem
from sparsebench.implementations import Implementation
from sparsebench.measuring import oracle
from sparsebench.measuring.verification import (
    Incorrect,
    activated,
    check_plain,
    drop_gradients,
    gradients,
)

_VISITS = 1 << 21  # of weights by samples, at most, that the oracle pays for
_BLOCK = 1 << 21  # numbers of inputs and outputs that are looked at at once
_PLACES = 4096  # of an answer, about, that are looked at for whether it changes

# Exact in any type, so that what they multiply is rounded as it was, and lies in a range of 8 bits.
_MULTIPLES = (1.0, -1.0, 0.5, -0.5)
_FEWEST, _MOST, _REPEAT_S = 3, 16, 0.01  # calls on multiples, and about how long they may take
_TINY = torch.finfo(torch.float64).tiny
_LARGE = 1 << 28  # bytes: a gradient that is not held while another one is made


def errors(
    implementation: Implementation,
    module: nn.Module,
    case: Case,
    given: Problem,
    generator: torch.Generator,
) -> dict[str, float]:
    """Return the errors of output and gradients by name.

    The numbers of `given` are written over. Raises Incorrect for what no error tells.
    """
    if given.winners:
        return _of_units(implementation, module, given, generator)
    look = _Look(implementation, module, case, given, generator)
    samples = look.draw()
    if implementation.trains:
        # Gradients of independent normal numbers, as many as there are samples and windows.
        rate = (case.out_features / max(1, case.nnz) / samples / case.windows) ** 0.5
        held = _Held(look.step("train_step", rate), module)
        implementation.forget_absent(module, given)
    else:
        held = _Held(look.step("inference"), module)
    look.draw()
    phase: Phase = "inference" if case.phase == "inference" else "forward_backward"
    answers = look.step(phase)
    if look.right:
        look.repeat(phase, answers)
    drop_gradients(module, given.x)
    held.check()
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
        self._allowed = oracle.TOLERANCE[implementation.precision or case.dtype]
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

    @property
    def right(self) -> bool:
        """Whether all that was compared so far is what it should be."""
        return all(error <= self._allowed for error in self.errors.values())

    def step(self, phase: Phase, learning_rate: float = 0.0) -> dict[str, Tensor]:
        """Take a step of `phase` and compare it; return all that it answers, by name."""
        given, exact = self._given, oracle.expected(self._exact)
        y = _called(
            phases.step(self._module, given.x, given.dy, phase, learning_rate=learning_rate)
        )
        answers = self._answers(y, phase)
        check_plain(answers, given.x.dtype)
        for name, tensor in answers.items():
            chosen = tensor[self._chosen] if name in ("output", "input") else tensor
            self._note(name, oracle.relative_error(chosen.cpu(), exact[name]))
        self._note("output", self._error_of_all(y, exact["output"].abs().max()))
        if phase != "inference":
            self._note("input", self._error_of_others(answers["input"], exact["input"]))
        self._exact = replace(
            self._exact,
            values=self._exact.values - learning_rate * exact["values"],
            bias=self._exact.bias - learning_rate * exact["bias"],
        )
        return answers

    def repeat(self, phase: Phase, first: dict[str, Tensor]) -> None:
        """Take the same step on multiples of its numbers, for a while.

        Raises Incorrect where an answer is no such multiple of the `first`.
        """
        x, dy = self._given.x, self._given.dy
        numbers = [tensor.detach().clone() for tensor in (x, dy)]
        known = {name: tensor.detach().double() for name, tensor in first.items()}
        bias = self._exact.bias.to(x.device).view(-1, *(1 for _ in x.shape[2:]))
        known["output"] = known["output"] - bias
        step, end = phases.step(self._module, x, dy, phase), time.perf_counter() + _REPEAT_S
        of_x, of_dy = 1.0, 1.0
        for number in range(_MOST):
            if number >= _FEWEST and time.perf_counter() > end:
                return
            of_x, of_dy = self._other(of_x), self._other(of_dy)
            with torch.no_grad():
                x.copy_(numbers[0] * of_x)
                dy.copy_(numbers[1] * of_dy)
            times = {"output": of_x, "input": of_dy, "values": of_x * of_dy, "bias": of_dy}
            for name, tensor in self._answers(_called(step), phase).items():
                wanted = known[name] * times[name] + (bias if name == "output" else 0.0)
                if not (error := oracle.relative_error(tensor, wanted)) <= 2 * self._allowed:
                    raise Incorrect(
                        f"on its numbers times {of_x:g} and {of_dy:g} the {name} of a later call "
                        f"is wrong by {error:.2g} of its largest entry: it was right before"
                    )

    def _answers(self, y: Tensor, phase: Phase) -> dict[str, Tensor]:
        answers = {"output": y}
        if phase != "inference":
            answers |= gradients(self._implementation, self._module, self._given)
        return answers

    def _other(self, last: float) -> float:
        others = [multiple for multiple in _MULTIPLES if multiple != last]
        return others[int(torch.randint(len(others), (), generator=self._generator))]

    def _note(self, name: str, error: float) -> None:
        # A nan is not below anything, and stays.
        self.errors[name] = max(error, self.errors.get(name, 0.0), key=_badness)

    def _error_of_all(self, y: Tensor, largest: Tensor) -> float:
        """Return the error of what the outputs of each sample add up to, weighted at random.

        Relative to what errors of the `largest` output would add up to. That costs what a single
        output does. (Freivalds, Probabilistic machines can use less running time, 1977, checks
        products so.)
        """
        if y.shape != self._given.dy.shape:
            return float("inf")
        exact, geometry = self._exact, self._exact.geometry
        outputs, inputs = exact.connectivity.shape
        weights = torch.randn(outputs, generator=self._generator, dtype=torch.float64)
        groups = self._case.groups if geometry else 1
        row, col = exact.connectivity.row.long(), exact.connectivity.col.long()
        matrix = torch.zeros(groups * inputs, dtype=torch.float64)
        place = row // (outputs // groups) * inputs + col
        matrix.index_add_(0, place, exact.values * weights[row])
        off = [torch.zeros((), dtype=torch.float64)]
        x = self._given.x.detach()
        samples = max(1, _BLOCK // (x[0].numel() + y[0].numel()))
        for first in range(0, len(x), samples):
            some = slice(first, first + samples)
            drawn = x[some].cpu().double()
            if geometry is None:
                wanted = drawn @ matrix
            else:
                kernel = matrix.view(1, -1, *geometry.kernel)
                window: Any = (geometry.stride, geometry.padding[::2], geometry.dilation)
                wanted = torch.ops.aten.conv2d(drawn, kernel, None, *window)[:, 0]
            found = torch.tensordot(y[some].cpu().double(), weights, dims=([1], [0]))
            off.append((found - wanted - exact.bias @ weights).abs().max())
        return float(torch.stack(off).max() / (largest * weights.norm()).clamp_min(_TINY))

    def _error_of_others(self, dx: Tensor, exact: Tensor) -> float:
        """Return the largest gradient of samples whose outputs have none, over that of the rest."""
        largest = dx.detach().flatten(1).abs().amax(1).double()
        largest[self._chosen] = 0
        return float(largest.max().cpu() / exact.abs().max().clamp_min(_TINY))


class _Held:
    """What a call has answered, and a user still holds: no later call may change it."""

    def __init__(self, answers: Mapping[str, Tensor], module: nn.Module) -> None:
        found = [answers.get("input"), *(parameter.grad for parameter in module.parameters())]
        plain = [g for g in found if g is not None and g.layout == torch.strided]
        self._held = [("an output", answers["output"])]
        self._held += [("a gradient", gradient) for gradient in plain if gradient.nbytes < _LARGE]
        self._seen = [_some(tensor).clone() for _, tensor in self._held]

    def check(self) -> None:
        for (what, tensor), seen in zip(self._held, self._seen, strict=True):
            if not torch.equal(_some(tensor), seen):
                raise Incorrect(f"{what} changes when the layer is called again")


def _called(step: Callable[[], Tensor]) -> Tensor:
    """Call `step` as it was called when its time was taken, whoever looks at who calls."""
    answers: list[Tensor] = []
    Timer(lambda: answers.append(step())).timeit(1)
    return answers[0]


def _some(tensor: Tensor) -> Tensor:
    every = tensor.detach().reshape(-1)
    return every[:: max(1, every.numel() // _PLACES)]


def _badness(error: float) -> float:
    return float("inf") if error != error else error
