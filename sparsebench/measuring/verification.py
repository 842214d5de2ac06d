"""A call against the oracle: what has to agree, and when it does."""

from __future__ import annotations

from pathlib import Path
from types import NoneType

import torch
from torch import Tensor, nn

from sparsebench.cases import phases
from sparsebench.cases.problem import Problem
from sparsebench.implementations import Implementation
from sparsebench.measuring import activations, oracle

# What an optimizer learns at while answers are looked at: the weights stay as they were built.
_STILL = 0.0


class Incorrect(Exception):  # noqa: N818 — an answer, and no error of ours
    """What was measured is not the work: the message says what it is, `errors` how far off."""

    def __init__(self, message: str, errors: dict[str, float] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or {}


def verify(
    implementation: Implementation, module: nn.Module, given: Problem, expected: Path
) -> dict[str, float]:
    """Return the relative errors of output and gradients, by name, against the oracle's.

    Raises RuntimeError where a gradient is missing, and Incorrect where the output is no plain
    tensor of the problem's type: one that computes when it is looked at has no time.
    """
    x = given.x
    if given.winners:
        return activated(implementation, module, given)
    if implementation.trains:
        y = phases.step(module, x, given.dy, "train_step", learning_rate=_STILL)()
        actual = {"output": y, **gradients(implementation, module, given)}
    else:
        actual = {"output": phases.step(module, x, given.dy, "inference")()}
    check_plain(actual, x.dtype)
    exact = torch.load(expected, map_location=x.device, weights_only=True)
    errors = {name: oracle.relative_error(tensor, exact[name]) for name, tensor in actual.items()}
    drop_gradients(module, x)
    return errors


def activated(
    implementation: Implementation, module: nn.Module, given: Problem
) -> dict[str, float]:
    """Return the errors of an activation on the numbers of `given`, by name."""
    boost = implementation.boost(module)  # which this call changes
    boost = None if boost is None else boost.detach().clone()
    y = phases.step(module, given.x, given.dy, "forward_backward")()
    dx = given.x.grad
    if dx is None:
        raise RuntimeError("the backward pass left no gradient of the input")
    check_plain({"output": y, "input": dx}, given.x.dtype)
    found = activations.errors(given, y, dx, boost, implementation.activates)
    drop_gradients(module, given.x)
    return found


def judge(errors: dict[str, float], dtype: str, *, when: str = "") -> None:
    """Raise Incorrect, naming them, where errors are beyond what rounding explains."""
    allowed = oracle.TOLERANCE[dtype]
    if wrong := [f"{_named(name)} by {e:.2g}" for name, e in errors.items() if not e <= allowed]:
        raise Incorrect(
            f"differs from the oracle{when}: {', '.join(wrong)} of its largest entry; "
            f"allowed {allowed:g}",
            errors,
        )


def _named(name: str) -> str:
    """Return what users call it: records have the name that the weights had."""
    return "weights" if name == "values" else name


def gradients(
    implementation: Implementation, module: nn.Module, given: Problem
) -> dict[str, Tensor]:
    """Return the gradients that a step left, by name, in the order of the problem.

    Those of weights are what an optimizer finds in the parameters, which are doubled before they
    are asked for: what is computed only then is half of what it should be. Raises Incorrect where
    parameters or their gradients are of a type that could compute when it is read.
    """
    if given.x.grad is None:
        raise RuntimeError("the backward pass left no gradient of the input")
    for name, parameter in module.named_parameters():
        if type(parameter) is not nn.Parameter or type(parameter.grad) not in (Tensor, NoneType):
            raise Incorrect(f"the parameter {name}, or its gradient, is no plain tensor")
        if parameter.grad is not None:
            parameter.grad = _doubled(parameter.grad, given)
    values = implementation.values_gradient(module, given)
    bias = implementation.bias_gradient(module, given)
    return {"input": given.x.grad, "values": values / 2, "bias": bias / 2}


def _doubled(gradient: Tensor, given: Problem) -> Tensor:
    """Return a gradient times two: the same tensor, which may be large, where it is nobody else's.

    At batch 1 that of a bias may be what came back itself.
    """
    if gradient.layout != torch.strided:
        return gradient * 2
    used = {tensor.untyped_storage().data_ptr() for tensor in (given.x, given.dy)}
    alone = gradient.untyped_storage().data_ptr() not in used
    return gradient.mul_(2) if alone else gradient * 2


def drop_gradients(module: nn.Module, x: Tensor) -> None:
    """Free the gradients that a step left."""
    module.zero_grad()
    x.grad = None


def check_plain(answers: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Raise Incorrect where an answer is no tensor with its numbers in memory.

    The output has to be of `dtype` too: gradients are of their parameters' own types.
    """
    for name, tensor in answers.items():
        if type(tensor) is not Tensor or tensor.layout != torch.strided:
            raise Incorrect(f"the {_named(name)} is no plain tensor but a {type(tensor).__name__}")
    if answers["output"].dtype != dtype:
        raise Incorrect(f"the output is {answers['output'].dtype}, the problem {dtype}")
