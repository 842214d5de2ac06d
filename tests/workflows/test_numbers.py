"""Counts beyond 16 bits, inputs that change in place, images of many sizes."""

import pytest
import torch

import sparselayers as sl
from sparselayers.convolution import plan


def test_more_wins_than_float16_holds():
    layer = sl.KWinners(0.5, features=4).half()
    exact = sl.KWinners(0.5, features=4)
    x = torch.randn(200_000, 4)
    layer(x.half()), exact(x.half().float())
    assert layer.duty_cycle.isfinite().all()
    torch.testing.assert_close(layer.duty_cycle.float(), exact.duty_cycle, atol=2e-3, rtol=0)


@pytest.mark.parametrize("batch", [1, 4, 128, 300])
@pytest.mark.parametrize("make", [sl.SparseLinear, torch.nn.Linear], ids=["ours", "nn.Linear"])
def test_an_input_that_changes_in_place_is_refused_whatever_the_batch(make, batch):
    layer = make(20, 10)
    x = torch.randn(batch, 20)
    y = layer(x).sum()
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_five_image_sizes_in_turn_are_planned_once(monkeypatch):
    planned = []
    for name in ("_forward", "_grad_input"):
        make = getattr(plan, name)
        monkeypatch.setattr(
            plan, name, lambda *given, make=make: planned.append(given) or make(*given)
        )
    layer = sl.SparseConv2d(3, 4, 3, padding=1, sparsity=0.5, backend=None)
    images = [torch.randn(2, 3, size, size, requires_grad=True) for size in (8, 12, 16, 20, 24)]
    for _ in range(3):
        for x in images:
            layer(x).sum().backward()
    if planned:  # by the native kernels, where they are
        assert len(planned) == 10
