"""Implementations that are right when they are first looked at, and do less work when timed.

Each is what somebody could write, on purpose or not, to be fast here and wrong for a user.
"""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.ours import Ours
from sparsebench.implementations.scipy_csr import ScipyCSR
from sparsebench.measuring import remembering, worker
from sparsebench.measuring.verification import Incorrect
from sparselayers.cores import Strain, Watch
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(SOME, implementation="cheat", threads=torch.get_num_threads())
PHASES = ("inference", "forward_backward", "train_step")
WORK_S = 2e-3


class Cheat(Dense):
    """A dense layer whose forward pass goes through `forward(module, original, x)`."""

    def __init__(self, forward):
        self._forward = forward

    def build(self, problem):
        module = super().build(problem)
        original = module.forward
        module.forward = lambda x: self._forward(module, original, x)
        return module


class Other(torch.autograd.Function):
    """Any output, and any gradients, whatever the inputs are."""

    @staticmethod
    def forward(ctx, answer, x, weight, bias):
        ctx.answer = answer
        return answer["y"].clone()

    @staticmethod
    def backward(ctx, dy):
        return None, *(ctx.answer[name].clone() for name in ("x", "weight", "bias"))


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    def outcome(implementation, phase="inference", *, earlier=None, **changes):
        case = replace(CASE, phase=phase, **changes)
        monkeypatch.setitem(IMPLEMENTATIONS, "cheat", implementation)
        worker.prepare(case, tmp_path)
        try:
            return worker.measure(case, tmp_path, 1e-3, earlier)
        finally:
            torch.set_num_threads(case.threads)

    return outcome


def remembered(module, original, x):
    """Return the first output for ever."""
    if not hasattr(module, "first"):
        module.first = original(x)
    return module.first if torch.is_grad_enabled() else module.first.detach()


def remembered_anew(module, original, x):
    """Return the first output, as another tensor each time."""
    if not hasattr(module, "first"):
        module.first = original(x).detach()
    return module.first.clone()


@pytest.mark.parametrize("way", [remembered, remembered_anew])
def test_an_output_that_is_remembered_is_incorrect(way, outcome):
    cheat = Cheat(way)
    cheat.trains = False
    found = outcome(cheat)
    assert found.status == "incorrect"
    assert "output" in found.message
    assert found.times.samples == []


class Kept(Ours):
    """Keeps the first call's answer and all its gradients."""

    def build(self, problem):
        module = super().build(problem)
        dense = module.forward
        answer = {}

        def forward(x):
            if not torch.is_grad_enabled():
                return dense(x)
            if not answer:
                leaf = x.detach().requires_grad_()
                y = dense(leaf)
                answer["y"] = y.detach()
                names = ("x", "weight", "bias")
                leaves = (leaf, module.weights, module.bias)
                gradients = torch.autograd.grad(y, leaves, problem.dy)
                answer.update(zip(names, gradients, strict=True))
            return Other.apply(answer, x, module.weights, module.bias)

        module.forward = forward
        return module


@pytest.mark.parametrize("phase", ["forward_backward", "train_step"])
def test_weights_and_gradients_that_are_kept_are_incorrect(phase, outcome):
    found = outcome(Kept(), phase)
    assert found.status == "incorrect"
    assert "after timing, on numbers drawn from" in found.message
    assert found.errors["values"] > 0.1


class Frozen(Ours):
    """Computes with a copy of the weights as they were; the parameters move, and nobody looks."""

    def build(self, problem):
        module, copy = super().build(problem), super().build(problem)

        def forward(x):
            y = copy(x)
            if torch.is_grad_enabled():
                with torch.no_grad():
                    copy.zero_grad()
                # The parameters get the copy's gradients, so that the optimizer has some.
                y.register_hook(lambda _: None)
                copy.weights.register_post_accumulate_grad_hook(
                    lambda p: setattr(module.weights, "grad", p.grad)
                )
                copy.bias.register_post_accumulate_grad_hook(
                    lambda p: setattr(module.bias, "grad", p.grad)
                )
            return y

        module.forward = forward
        return module


@pytest.mark.parametrize("phase", PHASES)
def test_weights_that_an_optimizer_moves_without_effect_are_incorrect(phase, outcome):
    found = outcome(Frozen(), phase)
    assert found.status == "incorrect"
    assert "output" in found.message


def by_identity(module, original, x):
    """Work only where the input's memory has been written to since the last call."""
    key = (x.data_ptr(), x._version, module.weight._version)
    if getattr(module, "key", None) != key:
        time.sleep(10 * WORK_S)  # beside which other programs' turns on a core are little
        module.key, module.last = key, original(x).detach()
    return module.last.clone()


def test_an_answer_known_by_its_input_is_incorrect(outcome):
    cheat = Cheat(by_identity)
    cheat.trains = False
    found = outcome(cheat, threads=1)  # of which none waits for another to get a core
    assert found.status == "incorrect"
    assert "it remembers" in found.message


def differentiate_by(gradients, module):
    """Have those of x, the weights and the bias of a linear layer from a function of x, w, dy."""

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias):
            ctx.save_for_backward(x, weight)
            return nn.functional.linear(x, weight, bias)

        @staticmethod
        def backward(ctx, dy):
            return gradients(*ctx.saved_tensors, dy)

    module.forward = lambda x: Backward.apply(x, module.weight, module.bias)


class KnownGradients(Dense):
    """Works only where x or dy were written to since the last call."""

    def build(self, problem):
        module, known = super().build(problem), {}

        def gradients(x, weight, dy):
            key = (x._version, dy._version)
            if known.get("key") != key:
                time.sleep(10 * WORK_S)
                known.update(key=key, weight=dy.T @ x, bias=dy.sum(0))
            return dy @ weight, known["weight"].clone(), known["bias"].clone()

        differentiate_by(gradients, module)
        return module


@pytest.mark.parametrize("phase", ["forward_backward", "train_step"])
def test_gradients_known_by_their_inputs_are_incorrect(phase, outcome):
    found = outcome(KnownGradients(), phase, threads=1)
    assert found.status == "incorrect"
    assert "it remembers" in found.message


class EverySecond(Dense):
    """Leaves the weights without a gradient in every second step of a long row of them."""

    def build(self, problem):
        module, calls = super().build(problem), [0]
        original = module.forward

        def forward(x):
            calls[0] += 1
            if calls[0] > 5 and calls[0] % 2:
                return x @ module.weight.detach().T + module.bias
            return original(x)

        module.forward = forward
        return module


def test_steps_that_are_left_out_are_incorrect(outcome):
    found = outcome(EverySecond(), "train_step")
    assert found.status == "incorrect"
    assert "weight" in found.message


class Tired(Dense):
    """Is right for twenty calls, and then leaves the bias out."""

    def build(self, problem):
        module, calls = super().build(problem), [0]
        original = module.forward

        def forward(x):
            calls[0] += 1
            y = original(x)
            return y - module.bias.detach() if calls[0] > 20 else y

        module.forward = forward
        return module


@pytest.mark.parametrize("phase", PHASES)
def test_what_is_wrong_later_is_incorrect(phase, outcome):
    found = outcome(Tired(), phase)
    assert found.status == "incorrect"
    assert "output" in found.message


class Lazy(Tensor):
    """Computes when it is looked at."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        args = [a.promise() if isinstance(a, Lazy) else a for a in args]
        return function(*args, **(kwargs or {}))


def lazy(module, original, x):
    """Return a promise."""
    y = Tensor._make_subclass(Lazy, torch.empty(0))
    y.promise = lambda: original(x)
    return y


def test_an_output_that_is_a_promise_is_incorrect(outcome):
    cheat = Cheat(lazy)
    cheat.trains = False
    found = outcome(cheat)
    assert found.status == "incorrect"
    assert found.message == "the output is no plain tensor but a Lazy"


def shorter(module, original, x):
    """Return half of the bytes."""
    return original(x).half()


def test_an_output_of_another_type_is_incorrect(outcome):
    cheat = Cheat(shorter)
    cheat.trains = False
    assert "the output is torch.float16" in outcome(cheat).message


def more_threads(module, original, x):
    """Take more threads than there are to be."""
    torch.set_num_threads(CASE.threads + 1)
    return original(x)


def test_threads_that_nobody_gave_are_incorrect(outcome):
    found = outcome(Cheat(more_threads))
    assert found.status == "incorrect"
    assert f"threads; the case has {CASE.threads}" in found.message


class SpoilsGradient(Dense):
    """Makes what later calls get zero, so that they have nothing to multiply."""

    def build(self, problem):
        module, calls = super().build(problem), [0]
        original = module.forward

        def forward(x):
            calls[0] += 1
            if calls[0] > 5:
                problem.dy.zero_()
            return original(x)

        module.forward = forward
        return module


def test_inputs_that_are_changed_are_incorrect(outcome):
    found = outcome(SpoilsGradient(), "forward_backward")
    assert found.status == "incorrect"
    assert "changed the gradient that they were given" in found.message


class OneBuffer(Dense):
    """Writes every output into the same memory: that of the last one a user may still need."""

    def build(self, problem):
        module, buffer = super().build(problem), torch.empty_like(problem.dy)

        class Into(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, weight, bias):
                ctx.save_for_backward(x, weight)
                torch.addmm(bias, x, weight.T, out=buffer)
                return buffer.view_as(buffer)

            @staticmethod
            def backward(ctx, dy):
                x, weight = ctx.saved_tensors
                return dy @ weight, dy.T @ x, dy.sum(0)

        module.forward = lambda x: Into.apply(x, module.weight, module.bias)
        return module


@pytest.mark.parametrize("phase", PHASES)
def test_outputs_that_share_their_memory_are_incorrect(phase, outcome):
    found = outcome(OneBuffer(), phase)
    assert found.status == "incorrect"
    assert found.message == "an output changes when the layer is called again"


def test_a_later_round_is_verified_too(outcome):
    first = outcome(Dense())
    assert first.status == "ok"
    cheat = Cheat(remembered_anew)
    cheat.trains = False
    assert outcome(cheat, earlier=first.times).status == "incorrect"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_honest_layers_are_correct(phase, batch, outcome):
    for implementation in (Dense(), Ours()):
        found = outcome(implementation, phase, batch=batch)
        assert found.status == "ok", found.message
        assert max(found.errors.values()) < 1e-5


def test_what_has_no_gradients_is_verified_on_other_inputs(outcome):
    pytest.importorskip("scipy")
    found = outcome(ScipyCSR())
    assert found.status == "ok", found.message
    assert found.errors.keys() == {"output"}


@pytest.mark.parametrize("until", [4, 99])
def test_what_passes_is_no_memory(until, monkeypatch):
    """Calls on new numbers that take longer for a while, as where other work has the cores."""
    takes = []

    class Pairs(remembering._Pairs):
        slow = False

        def take(self, pairs):
            takes.append(pairs)
            self.old.any = self.old.clean = 1e-3
            self.new.any = self.new.clean = 2e-3 if len(takes) < until else 1e-3

    monkeypatch.setattr(remembering, "_Pairs", Pairs)
    monkeypatch.setattr(remembering, "_AGAIN_S", (0.0, 0.0, 0.0))
    given = SimpleNamespace(x=torch.ones(2, 3), dy=torch.ones(2, 4))
    asked = (nn.Linear(3, 4), given, replace(CASE, phase="inference"))
    if until == 99:
        with pytest.raises(Incorrect, match="it remembers"):
            remembering.check(*asked)
    else:
        remembering.check(*asked)
        assert len(takes) == until


@pytest.mark.parametrize("lacks", [True, False])
def test_nobody_is_accused_by_calls_that_had_to_wait_for_a_core(lacks, monkeypatch):
    """Beside a program that never rests long calls have, and short ones have not."""
    now = [0.0]

    def call():
        now[0] += 2.0 if next(turn) % 2 else 1.0

    class Spoiled(Watch):
        def end(self, seconds):
            return Strain(1.0, 0.5 if lacks and seconds > 1.5 else 0.0, 0)

    turn = iter(range(10**6))
    monkeypatch.setattr(remembering, "Watch", Spoiled)
    monkeypatch.setattr(remembering, "_AGAIN_S", (0.0,))
    monkeypatch.setattr(remembering.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(remembering.phases, "step", lambda *_: call)
    given = SimpleNamespace(x=torch.ones(2, 3), dy=torch.ones(2, 4))
    asked = (nn.Linear(3, 4), given, replace(CASE, phase="inference"))
    if lacks:
        remembering.check(*asked)
    else:
        with pytest.raises(Incorrect, match=r"takes 2 times as long .* it remembers"):
            remembering.check(*asked)
