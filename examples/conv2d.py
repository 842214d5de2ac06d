"""A convolution: right in all its gradients, and how long it takes beside nn.Conv2d.

python examples/conv2d.py [--channels 128] [--size 28] [--batch 16] [--sparsity 0.95]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import sparselayers as sl

arguments = argparse.ArgumentParser()
arguments.add_argument("--channels", type=int, default=128)
arguments.add_argument("--size", type=int, default=28, help="pixels, of a side")
arguments.add_argument("--batch", type=int, default=16)
arguments.add_argument("--sparsity", type=float, default=0.95)
asked = arguments.parse_args()

torch.manual_seed(0)
channels = asked.channels
sparse = sl.SparseConv2d(channels, channels, 3, padding=1, sparsity=asked.sparsity)
dense: nn.Conv2d = sparse.to_dense()
x = torch.randn(asked.batch, channels, asked.size, asked.size)
dy = torch.randn_like(x)

# Correct: output, and gradients of input, weights and bias.
mine, theirs = (x.clone().requires_grad_() for _ in range(2))
y, expected = sparse(mine), dense(theirs)
y.backward(dy)
expected.backward(dy)
torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
kept = dense.weight.grad.flatten(1)[sparse.connectivity.mask()]  # in the order of `weights`
torch.testing.assert_close(sparse.weights.grad, kept, rtol=1e-3, atol=1e-2)
torch.testing.assert_close(sparse.bias.grad, dense.bias.grad, rtol=1e-3, atol=1e-2)
print("output and gradients agree")


def step(layer: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Forward and backward."""
    return lambda: layer(x).backward(dy)


# Timed in turn, so that what else the machine does meets both.
steps = {"nn.Conv2d": step(dense, theirs), "SparseConv2d": step(sparse, mine)}
times: dict[str, list[float]] = {name: [] for name in steps}
for _ in range(7):
    for name, run in steps.items():
        start = time.perf_counter()
        run()
        times[name].append(time.perf_counter() - start)
for name, samples in times.items():
    print(f"{name:14} {1e3 * statistics.median(samples[2:]):8.3f} ms forward and backward")
