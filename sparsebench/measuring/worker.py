"""What one process does: prepare a problem, or measure a case of it. Reads top to bottom."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases import phases, problem
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.cases.topologies import Undrawable
from sparsebench.implementations import IMPLEMENTATIONS, Implementation
from sparsebench.implementations.dense_tf32 import tensor_cores
from sparsebench.measuring import (
    afterwards,
    allocator,
    cold,
    constructions,
    memory,
    oracle,
    quality,
    remembering,
    rewirings,
    timing,
)
from sparsebench.measuring.isolation import public
from sparsebench.measuring.verification import Incorrect, drop_gradients, judge, verify
from sparsebench.records import Memory, Round, Status
from sparselayers import backends
from sparselayers.backends import native
from sparselayers.backends.triton_kernels.tuning import TUNER

# So much more may a layer hold after thousands of calls than after a few, and so many bytes: what
# libraries keep is not its own.
_GROWN, _GROWN_BYTES = 1.05, 1 << 20
_SLOW_SETUP_S = 1.0  # one that compiles for so long does it for its problem alone


@dataclass(frozen=True)
class Outcome:
    """What one process found out about a case."""

    status: Status
    message: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    times: timing.Times = field(default_factory=timing.Times)
    tuning_s: float = 0.0
    round: Round = field(default_factory=Round)


def prepare(case: Case, folder: Path) -> Outcome:
    """Draw the problem of `case` and compute what is expected: once for all implementations."""
    torch.set_num_threads(case.threads)
    try:
        drawn = problem.make(case)
    except Undrawable as why:
        return Outcome("unsupported", str(why))
    problem.save(drawn, folder / "problem.pt")
    if not drawn.winners:
        torch.save(oracle.expected(drawn), folder / "expected.pt")
    return Outcome("ok")


def measure(case: Case, folder: Path, seconds: float, earlier: timing.Times | None) -> Outcome:
    """Build the module of `case`; verify it and take memory, once; time it for about `seconds`.

    And verify it again, on other numbers. `folder` holds what `prepare` wrote, `earlier` what an
    earlier round of the case timed: its calls are counted alike again, and what came before the
    timing is not repeated.
    """
    try:
        return _measured(case, folder, seconds, earlier)
    except Incorrect as wrong:
        return Outcome("incorrect", str(wrong), wrong.errors)


def _measured(case: Case, folder: Path, seconds: float, earlier: timing.Times | None) -> Outcome:
    torch.manual_seed(case.seed)
    torch.set_num_threads(case.threads)
    implementation = IMPLEMENTATIONS[case.implementation].of(case)
    implementation.load()
    given = problem.load(folder / "problem.pt", case.device, case.phase)
    x, dy = given.x, given.dy
    memory.settle(case.device, x.dtype)
    if case.device == "cpu":
        native.settle(x.dtype)
    settled = None if earlier else _settle(implementation, case)
    if case.device != "cpu":
        tensor_cores(use=False)
    if case.phase == "construction":
        return _constructed(implementation, case, given, folder, seconds, earlier)
    tuned = TUNER.cost
    empty = memory.held(case.device) - _bytes_of_layer(given)
    module = implementation.build(given)
    _check_built(implementation, module)

    errors, peaks = {}, Memory()
    if earlier is None:
        errors = verify(implementation, module, given, folder / "expected.pt")
        judge(errors, implementation.precision or case.dtype)
        if case.phase == "rewiring":
            rewirings.check(implementation, module, given, implementation.precision or case.dtype)
        del given  # what the module shares with it still counts
        if not isinstance(module, phases.Captured):  # a graph keeps all of its memory
            peaks = take_memory(implementation, module, x, dy, case, empty)
    before = afterwards.parameters_before(module, case)

    if case.device == "cpu":
        keep = allocator.keep_freed if case.gradients == "fresh" else allocator.keep_everything
        keep()
    modules = [module]
    if case.cache == "cold":
        modules += cold.others(implementation, case, folder)
    begun = quality.Moment.now()
    if case.cache == "cold":
        times = timing.measure_cold(
            [phases.step(one, x, dy, case.phase) for one in modules],
            threads=case.threads,
            seconds=seconds,
            evict=cold.eviction(),
        )
    else:
        times = timing.measure(
            phases.step(module, x, dy, case.phase),
            device=case.device,
            threads=case.threads,
            seconds=seconds,
            calls=earlier.calls_per_sample if earlier else None,
        )
    turn = _round(times, quality.conditions(begun, quality.Moment.now()))
    spent = TUNER.cost - tuned
    if case.cache == "cold":
        precision = implementation.precision or case.dtype
        cold.check(modules, x, dy, case, oracle.TOLERANCE[precision])
    del modules
    again = afterwards.check(
        implementation,
        module,
        case,
        afterwards.timed(x, dy, folder),
        before=before,
        times=times,
        seed=secrets.randbits(32),
        first=earlier is None,
    )
    del settled
    errors = {name: max(error, again[name]) for name, error in errors.items()}
    if earlier is None and case.phase != "rewiring":
        del before
        drop_gradients(module, x)
        peaks = _grown(peaks, memory.held(case.device) - empty)
    # What was measured is then another backend: whoever reads the time has to know.
    note = public(backends.fallen_back())
    return Outcome("ok", note, errors, memory=peaks, times=times, tuning_s=spent, round=turn)


def _constructed(
    implementation: Implementation,
    case: Case,
    given: Problem,
    folder: Path,
    seconds: float,
    earlier: timing.Times | None,
) -> Outcome:
    """Make layers of `case`: verified, with their memory, and timed."""
    make = implementation.construction(case)
    errors = constructions.check(implementation, make, given, folder, case.dtype)
    peaks = Memory() if earlier else constructions.take_memory(make, case.device)
    if case.device == "cpu":
        allocator.keep_freed()
    begun = quality.Moment.now()
    times = timing.measure(
        make, device=case.device, threads=case.threads, seconds=seconds,
        calls=earlier.calls_per_sample if earlier else None,
    )  # fmt: skip
    turn = _round(times, quality.conditions(begun, quality.Moment.now()))
    again = constructions.check(implementation, make, given, folder, case.dtype)
    if earlier is None and case.device == "cpu":
        with suppress(Undrawable):  # a seed may be one for which there are no such connections
            remembering.check_making(make, lambda: implementation.construction(_other(case)))
    errors = {name: max(error, again[name]) for name, error in errors.items()}
    return Outcome("ok", "", errors, memory=peaks, times=times, round=turn)


def _other(case: Case) -> Case:
    return replace(case, seed=secrets.randbits(31))


def _round(times: timing.Times, conditions: dict[str, Any]) -> Round:
    """Return what a record keeps of a turn beside its samples. A GPU's own times are not judged."""
    strains = times.strains
    return Round(
        samples=len(times.samples),
        hot_samples=len(times.hot),
        wall_samples=len(times.wall),
        calls_per_sample=times.calls_per_sample,
        disturbed=quality.disturbance(times.samples, strains, conditions) if strains else "",
        spoiled=quality.spoiled(strains),
        cpu=[round(strain.cpu, 3) for strain in strains],
        waited=[round(strain.waited, 4) for strain in strains if strain.waited is not None],
        switches=[strain.switches for strain in strains],
        conditions=conditions,
    )


def take_memory(
    implementation: Implementation, module: nn.Module, x: Tensor, dy: Tensor, case: Case, empty: int
) -> Memory:
    """Take what the module holds beyond `empty`, and the peaks of an inference and a training step.

    The step is one that rewires where the case is about that. The module has run a training step
    before, so that what it caches counts as held.
    """
    held = memory.held(case.device) - empty
    inference = phases.step(module, x, dy, "inference")
    inference_peak, method = memory.peak(inference, case.device, forget=lambda: None)
    training_peak = None
    if implementation.trains:
        phase = "rewiring" if case.phase == "rewiring" else phases.training(module)
        training = phases.step(module, x, dy, phase, learning_rate=0.0)
        training_peak, method = memory.peak(
            training, case.device, forget=lambda: drop_gradients(module, x)
        )
        drop_gradients(module, x)
    return Memory(
        held=max(0, held), inference_peak=inference_peak, training_peak=training_peak, method=method
    )


def _grown(peaks: Memory, held: int) -> Memory:
    """Return `peaks` with what the module holds once it was timed, where that is clearly more."""
    if peaks.held is None or held <= _GROWN * peaks.held + _GROWN_BYTES:
        return peaks
    return peaks.model_copy(update={"held": held})


def _settle(implementation: Implementation, case: Case) -> list[nn.Module | None]:
    """Let small layers take a step, so that what is loaded and kept for all is no layer's own.

    There are two, of many connections and of few: each may be computed in a way of its own. The
    second is large enough for all threads, each of which has memory to work in. Return them, to be
    kept: sparselab knows what it caches by the identity of objects, and a new one may have that of
    one that is gone.
    """
    return [_small(implementation, case, width, some) for width, some in ((8, 0.5), (512, 0.9))]


def _small(
    implementation: Implementation, case: Case, width: int, sparsity: float
) -> nn.Module | None:
    width = max(8, min(width, case.in_features, case.out_features))
    each = max(1, width // case.groups)  # channels of a group
    small = replace(
        case, in_features=each * case.groups, out_features=each * case.groups, batch=8,
        sparsity=sparsity, topology="random", image=max(case.kernel, min(case.image, 4)),
    )  # fmt: skip
    slow = implementation.setup_s >= _SLOW_SETUP_S
    if slow or case.device != "cpu" or implementation.unsupported(small):
        return None
    with suppress(Exception):  # whatever is wrong with it, the case itself says
        given = problem.make(small)
        module = implementation.build(given)
        if implementation.trains:
            training = phases.training(module)
            phases.step(module, given.x, given.dy, training, learning_rate=0.0)()
        phases.step(module, given.x, given.dy, "inference")()
        return module
    return None


def _check_built(implementation: Implementation, module: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"build of {implementation.name} returned a {type(module).__name__}, and has to return "
            "a torch.nn.Module"
        )


def _bytes_of_layer(given: Problem) -> int:
    """The size of what a module may share or copy of the problem."""
    connectivity = given.connectivity
    tensors = (connectivity.row_ptr, connectivity.col, given.values, given.bias)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
