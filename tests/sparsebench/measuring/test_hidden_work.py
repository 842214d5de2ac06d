"""Implementations that do their work now and then, later, elsewhere, or with others' means.

Each came out as `ok`, with a better time, until what is tested here was looked at.
"""

import sys
import time
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import sparselayers as sl
from sparsebench.cases import topologies
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.ours import Ours
from sparsebench.measuring import allocator, cold, machine, other_numbers, timing
from sparsebench.measuring.timing import Times
from sparselayers.cores import Strain
from tests.sparsebench.measuring.test_cheats import (  # noqa: F401  # a fixture
    PHASES,
    WORK_S,
    Cheat,
    differentiate_by,
    outcome,
)

LARGE = 64 << 20  # bytes: glibc maps such a block by itself


def watchful(module, original, x):
    """Work only where no timer is among the callers."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.endswith("timeit.py"):
        frame = frame.f_back
    if frame is None or not hasattr(module, "last"):
        module.last = original(x).detach()
    return module.last.clone()


def test_who_looks_for_a_timer_is_incorrect(outcome):  # noqa: F811
    cheat = Cheat(watchful)
    cheat.trains = False
    found = outcome(cheat)
    assert found.status == "incorrect"
    assert "output" in found.message


class InBursts(Dense):
    """Computes gradients of the weights in four calls of a row, and keeps the last one in eight."""

    def build(self, problem):
        module, calls, kept = super().build(problem), [0], {}

        def gradients(x, weight, dy):
            calls[0] += 1
            if calls[0] % 12 < 4 or not kept or calls[0] < 4:
                kept["weight"] = dy.T @ x
            return dy @ weight, kept["weight"].clone(), dy.sum(0)

        differentiate_by(gradients, module)
        return module


@pytest.mark.parametrize("phase", ["forward_backward", "train_step"])
@pytest.mark.parametrize("timed", range(0, 12, 5))
def test_gradients_that_are_computed_now_and_then_are_incorrect(
    phase, timed, outcome, monkeypatch  # noqa: F811
):  # fmt: skip
    """However many calls there were before: none of them tells which ones are looked at."""
    measure = timing.measure

    def then_some_more(step, **options):
        for _ in range(timed if phase == "forward_backward" else 0):
            step()
        return measure(step, **options)

    monkeypatch.setattr(timing, "measure", then_some_more)
    monkeypatch.setattr(other_numbers, "_REPEAT_S", 10.0)  # however busy the machine is
    found = outcome(InBursts(), phase)
    assert found.status == "incorrect"


def test_a_sample_that_is_left_out_is_incorrect_however_few_are_looked_at(
    outcome, monkeypatch  # noqa: F811
):  # fmt: skip
    """Of large layers the oracle pays for one sample."""
    monkeypatch.setattr(other_numbers, "_VISITS", 1)
    calls = [0]

    def most_of_it(module, original, x):
        calls[0] += 1
        y = original(x)
        return torch.cat((y[:-1], torch.ones_like(y[-1:]))) if calls[0] > 20 else y

    cheat = Cheat(most_of_it)
    cheat.trains = False
    found = outcome(cheat, batch=300)
    assert found.status == "incorrect"
    assert "output" in found.message


class Late(Dense):
    """Leaves gradients to whoever asks: the optimizer, or the referee. No timed call does."""

    def build(self, problem):
        module, seen = super().build(problem), []

        def gradients(x, weight, dy):
            seen[:] = [(x, dy)]
            return dy @ weight, None, None

        differentiate_by(gradients, module)
        module.seen = seen
        self.hook = register_optimizer_step_pre_hook(lambda *_: self.catch_up(module))
        return module

    def catch_up(self, module):
        if module.seen:
            x, dy = (tensor.detach() for tensor in module.seen.pop())
            module.weight.grad, module.bias.grad = dy.T @ x, dy.sum(0)

    def values_gradient(self, module, problem):
        self.catch_up(module)
        return super().values_gradient(module, problem)


def test_gradients_that_are_computed_when_somebody_asks_are_incorrect(outcome):  # noqa: F811
    late = Late()
    found = outcome(late, "forward_backward")
    late.hook.remove()
    assert found.status == "incorrect"
    assert "weights by 0.5" in found.message


class OneGradient(Dense):
    """Writes the gradient of the weights into the same memory in every step."""

    def build(self, problem):
        module = super().build(problem)
        buffer = torch.empty_like(module.weight)

        def gradients(x, weight, dy):
            torch.mm(dy.T, x, out=buffer.detach())
            return dy @ weight, buffer.detach(), dy.sum(0)

        differentiate_by(gradients, module)
        return module


@pytest.mark.parametrize("phase", ["forward_backward", "train_step"])
def test_gradients_that_share_their_memory_are_incorrect(phase, outcome):  # noqa: F811
    """Who adds up the gradients of two batches would get twice the second one."""
    found = outcome(OneGradient(), phase)
    assert found.status == "incorrect"
    assert found.message == "a gradient changes when the layer is called again"


def test_outputs_of_what_does_not_train_may_not_share_their_memory_either(outcome):  # noqa: F811
    buffers = {}

    def into(module, original, x):
        y = original(x)
        return torch.add(y, 0, out=buffers.setdefault(y.shape, torch.empty_like(y)))

    cheat = Cheat(into)
    cheat.trains = False
    found = outcome(cheat)
    assert found.status == "incorrect"
    assert found.message == "an output changes when the layer is called again"


class KeepsConnections(Ours):
    """Draws the connections of a seed once, whoever asks for them again."""

    kept: ClassVar[dict] = {}

    def construction(self, case):
        draw = topologies.ready(case)

        def make():
            if case.seed not in self.kept:
                time.sleep(10 * WORK_S)
                self.kept[case.seed] = draw()
            return sl.SparseLinear(
                case.in_features, case.out_features, connectivity=self.kept[case.seed]
            )

        return make


def test_connections_that_are_known_by_their_seed_are_incorrect(outcome):  # noqa: F811
    found = outcome(KeepsConnections(), "construction", threads=1)
    assert found.status == "incorrect"
    assert "it remembers them" in found.message


class Odd(nn.Parameter):
    """Could add up what an optimizer does to it when somebody reads it."""


def test_parameters_that_are_not_plain_are_incorrect(outcome):  # noqa: F811
    class Deferred(Dense):
        def build(self, problem):
            module = super().build(problem)
            module.weight = Odd(module.weight.detach())
            return module

    found = outcome(Deferred(), "train_step")
    assert found.status == "incorrect"
    assert found.message == "the parameter weight, or its gradient, is no plain tensor"


def test_threads_of_a_librarys_own_are_counted(outcome, monkeypatch):  # noqa: F811
    measure = timing.measure

    def busy(*cores):
        def measured(step, **options):
            times = measure(step, **options)
            strains = [Strain(each, 0.0, 0) for each in cores]
            taken = len(cores) * [0.005 / times.calls_per_sample]
            return replace(times, samples=taken, strains=strains)

        return measured

    monkeypatch.setattr(machine, "usable_threads", lambda: 8)
    monkeypatch.setattr(timing, "measure", busy(1.9, 1.9, 1.9))
    found = outcome(Dense(), threads=1)
    assert found.status == "incorrect"
    assert found.message == "its calls kept 1.9 cores busy; the case has 1"
    # Ticks make one sample too much and the next too little: most of these are above the limit.
    for cores in ((1.2, 1.2, 1.2), (1.9, 1.9, 0.1, 1.9, 0.1)):
        monkeypatch.setattr(timing, "measure", busy(*cores))
        assert outcome(Dense(), threads=1).status == "ok"
    # Nobody keeps more cores busy than there are.
    monkeypatch.setattr(timing, "measure", busy(2.9, 2.9, 2.9))
    monkeypatch.setattr(machine, "usable_threads", lambda: 2)
    assert outcome(Dense(), threads=2).status == "ok"


class OnlyTheFirst(Dense):
    """Builds one layer that works; all others of the shape answer with zeros."""

    def __init__(self):
        self.built = set()

    def build(self, problem):
        module, shape = super().build(problem), problem.x.shape
        if shape in self.built:
            module.forward = lambda x: x.new_zeros(len(x), module.out_features)
        self.built.add(shape)
        return module


def test_all_layers_of_a_turn_have_to_work(outcome, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cold, "last_level", lambda: 1 << 16)
    cheat = OnlyTheFirst()
    cheat.trains = False
    found = outcome(cheat, cache="cold")
    assert found.status == "incorrect"
    assert found.message == "the layers of a turn, made of the same numbers, differ"


def test_layers_of_a_turn_share_nothing(outcome, monkeypatch):  # noqa: F811
    """Not what is kept with their connections: that would be in the caches after the first one."""
    monkeypatch.setattr(cold, "last_level", lambda: 1 << 16)
    given = []

    class Kept(Dense):
        def build(self, problem):
            given.append(problem.connectivity)
            return super().build(problem)

    for phase in PHASES:
        given.clear()
        assert outcome(Kept(), phase, cache="cold").status == "ok"
        turn = given[-cold.LAYERS :]
        assert len({one.col.data_ptr() for one in turn}) == cold.LAYERS


def test_what_a_layer_keeps_after_its_memory_was_taken_counts(outcome):  # noqa: F811
    calls = [0]

    def grows(module, original, x):
        calls[0] += 1
        if calls[0] == 50:
            module.kept = torch.ones(8 << 20, dtype=torch.uint8)
        return original(x)

    cheat = Cheat(grows)
    cheat.trains = False
    found = outcome(cheat)
    assert found.status == "ok"
    if found.memory.method == "VmPeak":
        assert found.memory.held > 7 << 20
    assert outcome(Dense()).memory.held < 1 << 20


def info():
    """What malloc says of itself."""
    mallinfo = allocator._function("mallinfo2")
    mallinfo.restype = allocator._Info
    return mallinfo()


def is_mapped_by_itself(size):
    """Whether a block for which nothing is free in the heap is mapped: there malloc looks first."""
    held = []
    for _ in range(info().fordblks // size + 2):
        before = info().hblkhd
        held.append(torch.empty(size, dtype=torch.uint8))
        if info().hblkhd - before >= size:
            return True
    return False


@pytest.mark.parametrize("lies_free", [0, 3 * LARGE])
def test_an_allocator_that_the_layer_has_set_is_set_back(lies_free, outcome, monkeypatch):  # noqa: F811
    """Else it would have kept gradients where its rivals have fresh ones."""
    mallopt = allocator._function("mallopt")
    if allocator.in_use() is None:
        pytest.skip("another allocator than glibc's")
    by_itself, kept = [], []

    def sets(module, original, x):
        mallopt(allocator._MMAP_MAX, 0)
        if not kept:
            free, beside = (torch.empty(size, dtype=torch.uint8) for size in (lies_free, LARGE))
            kept.append(beside)  # above it in the heap, of which only the end is given back
            del free
        return original(x)

    cheat = Cheat(sets)
    cheat.trains = False

    def measured(step, **options):
        by_itself.append(is_mapped_by_itself(LARGE))
        return Times([1e-3] * 3, 1, calls=1)

    monkeypatch.setattr(timing, "measure", measured)
    try:
        outcome(cheat)
    finally:
        mallopt(allocator._MMAP_MAX, allocator._BLOCKS)
        allocator.trim()
    assert by_itself[0]
