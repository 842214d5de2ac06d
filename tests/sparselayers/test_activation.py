"""K-winners: exactly k, the right ones, duty cycles as the paper defines them."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparselayers as sl
from sparselayers.functional import k_winners


def brute_force(x, k, duty_cycle, strength):
    """The paper's rule for one sample, in Python floats; no ties."""
    n = len(x)
    boosted = [
        float(v) * 2.718281828459045 ** (strength * (k / n - float(d)))
        for v, d in zip(x, duty_cycle, strict=True)
    ]
    best = sorted(range(n), key=lambda i: -boosted[i])[:k]
    return torch.tensor([float(x[i]) if i in best else 0.0 for i in range(n)])


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_keeps_what_the_paper_keeps(strength):
    generator = torch.Generator().manual_seed(0)
    layer = sl.KWinners(0.7, boost_strength=strength, features=10).eval()
    layer.duty_cycle.copy_(torch.rand(10, generator=generator))
    x = torch.randn(6, 10, generator=generator)
    expected = torch.stack([brute_force(row, 3, layer.duty_cycle, strength) for row in x])
    assert torch.equal(layer(x), expected)


def test_duty_cycles_are_the_mean_fraction_of_wins():
    layer = sl.KWinners(0.5, duty_cycle_momentum=0.25, boost_strength=0.0)
    x = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 3.0, 2.0]])
    layer(x)
    torch.testing.assert_close(layer.duty_cycle, torch.tensor([0.25, 0.125, 0.125, 0.0]))
    layer(x)
    torch.testing.assert_close(layer.duty_cycle, torch.tensor([0.4375, 0.21875, 0.21875, 0.0]))
    before = layer.duty_cycle.clone()
    layer.eval()(x)
    assert torch.equal(layer.duty_cycle, before)
    layer.train()(x[:0])  # an empty batch says nothing
    assert torch.equal(layer.duty_cycle, before)


def test_duty_cycles_do_not_depend_on_how_the_batch_is_shaped():
    x = torch.randn(4, 3, 10)
    layer, flat = sl.KWinners(), sl.KWinners()
    assert torch.equal(layer(x).flatten(0, 1), flat(x.flatten(0, 1)))
    torch.testing.assert_close(layer.duty_cycle, flat.duty_cycle)


def test_boosting_evens_out_who_wins():
    x = torch.arange(1.0, 9.0) + torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    layer = sl.KWinners(0.5, duty_cycle_momentum=0.2, boost_strength=3.0)
    for _ in range(200):
        layer(x)
    assert (layer.duty_cycle > 0).all()  # without boosts the four smallest never win


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    sparsity=st.floats(0, 0.99),
    axis=st.integers(0, 3),
    levels=st.integers(1, 3),
    training=st.booleans(),
)
def test_exactly_k_winners_with_ties(shape, sparsity, axis, levels, training):
    dim = axis % len(shape)
    layer = sl.KWinners(sparsity, dim=dim).train(training)
    x = torch.randint(1, levels + 1, shape).float()  # positive, so that a winner is not zero
    y = layer(x)
    k = max(1, round((1 - sparsity) * shape[dim]))
    assert ((y != 0).sum(dim) == k).all()
    assert torch.equal(y[y != 0], x[y != 0])
    losers = torch.where(y == 0, x, torch.inf)
    if not training or k == shape[dim]:
        won = torch.where(y == 0, torch.inf, y)
        assert (won.amin(dim) >= torch.where(losers.isinf(), 0, losers).amax(dim)).all()


def test_gradient_flows_through_winners_alone():
    x = torch.randn(5, 20, requires_grad=True)
    y = sl.KWinners(0.8)(x)
    gradient = torch.randn(5, 20)
    y.backward(gradient)
    assert torch.equal(x.grad, torch.where(y == 0, 0, gradient))


def test_a_loser_that_is_not_finite_spoils_nothing():
    x = torch.tensor([[1.0, 2.0, -torch.inf]], requires_grad=True)
    y = sl.KWinners(0.6)(x)
    y.sum().backward()
    assert torch.equal(y, torch.tensor([[0.0, 2.0, 0.0]]))
    assert torch.equal(x.grad, torch.tensor([[0.0, 1.0, 0.0]]))


def test_channels_compete_at_each_position():
    x = torch.rand(2, 8, 3, 5) + 0.1
    layer = sl.KWinners2d(0.75)
    y = layer(x)
    assert ((y != 0).sum(1) == 2).all()
    assert layer.duty_cycle.shape == (8,)
    torch.testing.assert_close(layer.duty_cycle, 0.1 * (y != 0).float().mean((0, 2, 3)))
    assert layer.eval()(x[0]).shape == (8, 3, 5)


def test_an_image_competes_as_a_whole():
    x = torch.rand(2, 8, 3, 5) + 0.1
    layer = sl.KWinners2d(0.75, local=False)
    y = layer(x)
    assert ((y != 0).sum((1, 2, 3)) == 30).all()
    torch.testing.assert_close(layer.duty_cycle, 0.1 * (y != 0).float().mean((0, 2, 3)))
    assert torch.equal(y, k_winners(x.flatten(1), 30).view(x.shape))  # duty cycles were all 0


def test_the_published_name_and_arguments():
    layer = sl.ActivationSparsity(alpha=0.2, beta=0.5, act_sparsity=0.9)
    assert (layer.alpha, layer.beta, layer.act_sparsity) == (0.2, 0.5, 0.9)
    same = sl.KWinners(0.9, 0.2, 0.5)
    x = torch.randn(4, 3, 30)
    for _ in range(3):
        assert torch.equal(layer(x), same(x))
    assert sl.activationsparsity.ActivationSparsity is sl.ActivationSparsity
    with pytest.warns(UserWarning, match="alpha must be in"):
        sl.ActivationSparsity(10)  # the published example
    assert "act_sparsity=0.9" in repr(layer)


def test_state_before_and_after_the_first_input():
    used, fresh = sl.KWinners(), sl.KWinners()
    used(torch.randn(4, 10))
    fresh.load_state_dict(used.state_dict())
    assert torch.equal(fresh.duty_cycle, used.duty_cycle)
    used.load_state_dict(sl.KWinners().state_dict())
    assert used.duty_cycle.shape == (0,)
    with pytest.raises(RuntimeError, match="size mismatch"):
        sl.KWinners(features=9).load_state_dict(fresh.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
        ({"duty_cycle_momentum": 1.5}, "momentum must be in"),
        ({"boost_strength": -1.0}, "boost_strength must be"),
        ({"features": 0}, "features must be positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        sl.KWinners(**arguments)


def test_bad_input():
    layer = sl.KWinners(features=10)
    for x in (torch.zeros(3, 9), torch.tensor(1.0), torch.zeros(3, 0)):
        with pytest.raises(RuntimeError, match="expected an input with 10 units"):
            layer(x)
    with pytest.raises(ValueError, match=r"k must be in \[1, 4\], got 5"):
        k_winners(torch.zeros(4), 5)


def test_costs_at_most_twice_a_topk():
    layer, x = sl.KWinners(features=4096), torch.randn(128, 4096)
    k = round(0.35 * 4096)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what is compared is work, not how busy the machine is
    try:
        ratios = []
        for _ in range(7):
            times = []
            for call in (lambda: layer(x), lambda: torch.topk(x, k)):
                start = time.thread_time()
                call()
                times.append(time.thread_time() - start)
            ratios.append(times[0] / times[1])
    finally:
        torch.set_num_threads(threads)
    assert min(ratios) <= 2
