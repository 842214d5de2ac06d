"""What one process does: prepare a problem, or measure a case of it. Reads top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.cases import phases, problem
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations import IMPLEMENTATIONS, Implementation
from sparsebench.implementations.dense_tf32 import tensor_cores
from sparsebench.measuring import allocator, memory, oracle, timing
from sparsebench.measuring.isolation import public
from sparsebench.records import Memory, Status
from sparselayers import backends
from sparselayers.backends.kernels.tuning import TUNER


@dataclass(frozen=True)
class Outcome:
    """What one process found out about a case."""

    status: Status
    message: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    times: timing.Times = field(default_factory=timing.Times)
    tuning_s: float = 0.0


def prepare(case: Case, folder: Path) -> Outcome:
    """Draw the problem of `case` and compute what is expected: once for all implementations."""
    torch.set_num_threads(case.threads)
    drawn = problem.make(case)
    problem.save(drawn, folder / "problem.pt")
    torch.save(oracle.expected(drawn), folder / "expected.pt")
    return Outcome("ok")


def measure(case: Case, folder: Path, seconds: float, earlier: timing.Times | None) -> Outcome:
    """Build the module of `case`; verify it and take memory, once; time it for about `seconds`.

    `folder` holds what `prepare` wrote, `earlier` what an earlier round of the case timed: its
    calls are counted alike again, and nothing else is repeated.
    """
    torch.manual_seed(case.seed)
    torch.set_num_threads(case.threads)
    implementation = IMPLEMENTATIONS[case.implementation].of(case)
    implementation.load()
    given = problem.load(folder / "problem.pt", case.device, case.phase)
    x, dy = given.x, given.dy
    if case.device != "cpu":
        memory.settle(case.device, x.dtype)
        tensor_cores(use=False)
    tuned = TUNER.cost
    empty = memory.held(case.device) - _bytes_of_layer(given)
    module = implementation.build(given)

    errors, peaks = {}, Memory()
    if earlier is None:
        errors = verify(implementation, module, given, folder / "expected.pt")
        if message := judge(errors, implementation.precision or case.dtype):
            return Outcome("incorrect", message, errors)
        del given  # what the module shares with it still counts
        peaks = take_memory(implementation, module, x, dy, case, empty)

    if case.device == "cpu":
        allocator.keep_freed()
    times = timing.measure(
        phases.step(module, x, dy, case.phase),
        device=case.device,
        threads=case.threads,
        seconds=seconds,
        calls=earlier.calls_per_sample if earlier else None,
    )
    spent = TUNER.cost - tuned
    # What was measured is then another backend: whoever reads the time has to know.
    note = public(backends.fallen_back())
    return Outcome("ok", note, errors, memory=peaks, times=times, tuning_s=spent)


def verify(
    implementation: Implementation, module: nn.Module, given: Problem, expected: Path
) -> dict[str, float]:
    """Return the relative errors of output and gradients, by name, against the oracle's."""
    x = given.x
    if implementation.trains:
        actual = {
            "output": phases.step(module, x, given.dy, "train_step")(),
            "input": _not_none(x.grad, "input"),
            "values": implementation.values_gradient(module, given),
            "bias": implementation.bias_gradient(module, given),
        }
    else:
        actual = {"output": phases.step(module, x, given.dy, "inference")()}
    exact = torch.load(expected, map_location=x.device, weights_only=True)
    errors = {name: oracle.relative_error(tensor, exact[name]) for name, tensor in actual.items()}
    _drop_gradients(module, x)
    return errors


def judge(errors: dict[str, float], dtype: str) -> str:
    """Say which errors are beyond what rounding explains; nothing if none is."""
    allowed = oracle.TOLERANCE[dtype]
    wrong = [f"{name} by {e:.2g}" for name, e in errors.items() if not e <= allowed]
    if not wrong:
        return ""
    return f"differs from the oracle: {', '.join(wrong)} of its largest entry; allowed {allowed:g}"


def take_memory(
    implementation: Implementation, module: nn.Module, x: Tensor, dy: Tensor, case: Case, empty: int
) -> Memory:
    """Take what the module holds beyond `empty`, and the peaks of an inference and a training step.

    The module has run a training step before, so that what it caches counts as held.
    """
    held = memory.held(case.device) - empty
    inference = phases.step(module, x, dy, "inference")
    inference_peak, method = memory.peak(inference, case.device)
    training_peak = None
    if implementation.trains:
        training = phases.step(module, x, dy, "train_step")
        training_peak, method = memory.peak(training, case.device)
        _drop_gradients(module, x)
    return Memory(
        held=max(0, held), inference_peak=inference_peak, training_peak=training_peak, method=method
    )


def _bytes_of_layer(given: Problem) -> int:
    """The size of what a module may share or copy of the problem."""
    connectivity = given.connectivity
    tensors = (connectivity.row_ptr, connectivity.col, given.values, given.bias)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _drop_gradients(module: nn.Module, x: Tensor) -> None:
    module.zero_grad()
    x.grad = None


def _not_none(gradient: Tensor | None, name: str) -> Tensor:
    if gradient is None:
        raise RuntimeError(f"the backward pass left no gradient of the {name}")
    return gradient
