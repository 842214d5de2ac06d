"""Whatever a user does, in any order: a sparse model stays what its masked dense twin is.

Some hundred random sequences; as many as you like by hand:

    SPARSEBENCH_SEQUENCES=10000 python -m pytest tests/workflows/test_any_sequence.py
"""

import copy
import itertools
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_sharer
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from torch import nn

import sparselayers as sl
from sparselayers.prune import prune_to_sparsity

SIZES = (7, 6, 5)
LR, MOMENTUM = 0.05, 0.9
seeds = st.integers(0, 10**6)
either = st.sampled_from([0, 1])


class Dense:
    """One layer of the twin: a dense weight, its mask, the bias, and the momentum of both."""

    def __init__(self, layer):
        self.mask = layer.connectivity.mask()
        self.weight = torch.zeros(layer.shape, dtype=torch.float64)
        self.weight[self.mask] = layer.weights.detach().double()
        self.bias = layer.bias.detach().double().clone()
        self.forget()
        self.frozen = False

    def forget(self):
        """Begin as a new optimizer does."""
        self.momentum = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]

    def keep(self, mask):
        """Have these connections: what has grown is 0, in the weight and in its momentum."""
        self.weight *= mask & self.mask
        self.momentum[0] *= mask & self.mask
        self.mask = mask


def draw(seed, sparsity=0.5):
    generator = torch.Generator().manual_seed(seed)
    made = [
        sl.SparseLinear(i, o, sparsity=sparsity, generator=generator, dtype=torch.float64)
        for i, o in itertools.pairwise(SIZES)
    ]
    return nn.Sequential(made[0], nn.Tanh(), made[1])


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1 + seed % 5, SIZES[0], generator=generator, dtype=torch.float64)


class AnySequence(RuleBasedStateMachine):
    """A model, its optimizer, and the twin of both."""

    @initialize(seed=seeds)
    def begin(self, seed):
        self.model = draw(seed)
        self.kept = []  # losses, graphs and state dicts that a user forgot about
        self.meet()

    def meet(self):
        """Start the twin and the optimizer anew from the model as it is."""
        self.twin = [Dense(layer) for layer in self.layers]
        for dense, layer in zip(self.twin, self.layers, strict=True):
            dense.frozen = not layer.weights.requires_grad
        self.renew()

    def renew(self):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)
        for dense in self.twin:
            dense.forget()

    def teardown(self):
        resource_sharer.stop(timeout=1)  # what nobody came for: memory that was shared, by its file

    @property
    def layers(self):
        return [self.model[0], self.model[2]]

    def expected(self, x, leaves):
        hidden = torch.tanh(F.linear(x, leaves[0] * self.twin[0].mask, leaves[1]))
        return F.linear(hidden, leaves[2] * self.twin[1].mask, leaves[3])

    def leaves(self):
        return [t.clone().requires_grad_() for d in self.twin for t in (d.weight, d.bias)]

    @rule(seed=seeds)
    def forward(self, seed):
        x = batch(seed)
        with torch.set_grad_enabled(seed % 2 == 0):
            y = self.model(x)
        self.kept = [*self.kept[-3:], y]
        torch.testing.assert_close(y.detach(), self.expected(x, self.leaves()).detach())

    @rule(seed=seeds)
    def gradients(self, seed):
        x, leaves = batch(seed).requires_grad_(), self.leaves()
        expected = torch.autograd.grad(self.expected(x, leaves).square().sum(), [x, *leaves])
        mine = [p for p in self.model.parameters() if p.requires_grad]
        found = torch.autograd.grad(self.model(x).square().sum(), [x, *mine])
        torch.testing.assert_close(found[0], expected[0])
        for parameter, gradient in zip(mine, found[1:], strict=True):
            place = next(i for i, p in enumerate(self.model.parameters()) if p is parameter)
            of_twin = expected[1 + place]
            if place % 2 == 0:
                of_twin = of_twin[self.twin[place // 2].mask]
            torch.testing.assert_close(gradient, of_twin)

    @rule(seed=seeds)
    def step(self, seed):
        x, leaves = batch(seed), self.leaves()
        self.optimizer.zero_grad(set_to_none=seed % 2 == 0)
        loss = self.model(x).square().mean()
        loss.backward()
        self.optimizer.step()
        self.kept = [*self.kept[-3:], loss]
        gradients = torch.autograd.grad(self.expected(x, leaves).square().mean(), leaves)
        for number, dense in enumerate(self.twin):
            moved = (dense.weight, gradients[2 * number]), (dense.bias, gradients[2 * number + 1])
            for place, (tensor, gradient) in enumerate(moved):
                if place == 0 and dense.frozen:
                    continue
                dense.momentum[place].mul_(MOMENTUM).add_(gradient)
                tensor.sub_(LR * dense.momentum[place])

    @rule(seed=seeds)
    def rewire(self, seed):
        """SET: what is dropped and grown is the rule's affair, what becomes of it is not."""
        if any(dense.frozen for dense in self.twin):
            return
        rewirer = sl.SET(
            self.model, self.optimizer, update_every=1, stop_after=10**9, fraction=0.4,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        self.step(seed)
        before = [layer.weights.numel() for layer in self.layers]
        rewirer.step()
        assert before == [layer.weights.numel() for layer in self.layers]
        for dense, layer in zip(self.twin, self.layers, strict=True):
            dense.keep(layer.connectivity.mask())

    @rule(sparsity=st.sampled_from([0.5, 0.6, 0.7, 0.8]))
    def prune(self, sparsity):
        prune_to_sparsity(self.model, sparsity, optimizer=self.optimizer)
        for dense, layer in zip(self.twin, self.layers, strict=True):
            count = min(round((1 - sparsity) * dense.mask.numel()), int(dense.mask.sum()))
            size = torch.where(dense.mask, dense.weight.abs(), -1.0).flatten()
            order = torch.argsort(size, stable=True)  # of equal ones the first go
            mask = torch.zeros_like(size, dtype=torch.bool)
            mask[order[size.numel() - count :]] = True
            dense.keep(mask.view_as(dense.mask))
            assert layer.weights.numel() == count

    @rule(seed=seeds, sparsity=st.sampled_from([0.3, 0.5, 0.8]), assign=st.booleans())
    def load(self, seed, sparsity, assign):
        self.kept = [*self.kept[-3:], self.model.state_dict()]
        state = draw(seed, sparsity).state_dict()
        self.model.load_state_dict(copy.deepcopy(state), assign=assign)
        self.meet()

    @rule(seed=seeds, number=either)
    def write_unseen(self, seed, number):
        """Into the arrays of a state dict, past PyTorch's counters."""
        layer = self.layers[number]
        other = draw(seed, layer.sparsity)[2 * number]
        if other.weights.numel() != layer.weights.numel():
            return
        state = layer.state_dict()
        for name in ("row_ptr", "col"):
            state[name].numpy()[...] = getattr(other, name).numpy()
        state["weights"].numpy()[...] = other.weights.detach().numpy()
        del state
        frozen = self.twin[number].frozen
        self.twin[number] = Dense(layer)
        self.twin[number].frozen = frozen
        assert layer.connectivity.equals(other.connectivity)
        self.renew()

    @rule()
    def share(self):
        self.kept = [*self.kept[-3:], ForkingPickler.dumps(self.model)]

    @rule()
    def share_the_state(self):
        self.kept = [*self.kept[-3:], ForkingPickler.dumps(self.model.state_dict())]

    @rule(pickled=st.booleans())
    def copy(self, pickled):
        old = self.model
        self.model = pickle.loads(pickle.dumps(old)) if pickled else copy.deepcopy(old)
        self.renew()

    @rule(number=either, frozen=st.booleans())
    def freeze(self, number, frozen):
        self.layers[number].weights.requires_grad_(not frozen)
        self.layers[number].weights.grad = None
        self.twin[number].frozen = frozen

    @rule(swap=st.booleans())
    def there_and_back(self, swap):
        """Round the weights to float32 by `.to`, in the two ways that PyTorch has."""
        self.kept.clear()  # swapping needs tensors that no graph holds
        self.model.zero_grad()
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(swap)
        try:
            self.model.float().double()
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)
        for dense in self.twin:
            dense.weight, dense.bias = dense.weight.float().double(), dense.bias.float().double()
        self.renew()

    @rule(seed=seeds)
    def threads(self, seed):
        x, leaves = batch(seed), self.leaves()
        expected = torch.autograd.grad(
            self.expected(given := x.clone().requires_grad_(), leaves).square().sum(), given
        )

        def gradient():
            mine = x.clone().requires_grad_()
            return torch.autograd.grad(self.model(mine).square().sum(), mine)

        with ThreadPoolExecutor(2) as pool:
            for job in [pool.submit(gradient) for _ in range(2)]:
                torch.testing.assert_close(job.result(), expected)


SEQUENCES = int(os.environ.get("SPARSEBENCH_SEQUENCES", 150))
AnySequence.TestCase.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_any_sequence = pytest.mark.slow(AnySequence.TestCase)
