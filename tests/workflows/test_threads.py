"""Several threads that use a layer at once, the first time above all."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

import sparselayers as sl


def test_the_first_backward_of_two_threads():
    for seed in range(5):
        layer = sl.SparseLinear(
            600, 500, sparsity=0.9, generator=torch.Generator().manual_seed(seed)
        )
        x = torch.randn(16, 600)
        together = Barrier(4)

        def gradients(layer=layer, x=x, together=together):
            given = x.clone().requires_grad_()
            together.wait()
            return torch.autograd.grad(layer(given).square().sum(), [given, layer.weights])

        with ThreadPoolExecutor(4) as pool:
            found = [job.result() for job in [pool.submit(gradients) for _ in range(4)]]
        weight = layer.weight.to_dense().detach().requires_grad_()
        given = x.clone().requires_grad_()
        y = torch.nn.functional.linear(given, weight, layer.bias)
        dx, dweight = torch.autograd.grad(y.square().sum(), [given, weight])
        for one in found:
            torch.testing.assert_close(one[0], dx, rtol=1e-4, atol=1e-4)
            mask = layer.connectivity.mask()
            torch.testing.assert_close(one[1], dweight[mask], rtol=1e-4, atol=1e-3)


def test_the_transpose_is_made_once():
    connectivity = sl.random((300, 200), 0.9)
    together, made = Barrier(8), []

    def make():
        made.append(1)
        return connectivity._transpose()

    def ask():
        together.wait()
        return connectivity.derive("once", make)

    with ThreadPoolExecutor(8) as pool:
        found = [job.result() for job in [pool.submit(ask) for _ in range(8)]]
    assert len(made) == 1
    assert all(each is found[0] for each in found)
