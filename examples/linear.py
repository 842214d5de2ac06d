"""A linear layer: right in all its gradients, and how long it takes beside nn.Linear.

python examples/linear.py [--in 2048] [--out 2048] [--batch 128] [--sparsity 0.9]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import sparselayers as sl

arguments = argparse.ArgumentParser()
arguments.add_argument("--in", type=int, default=2048, dest="inputs")
arguments.add_argument("--out", type=int, default=2048, dest="outputs")
arguments.add_argument("--batch", type=int, default=128)
arguments.add_argument("--sparsity", type=float, default=0.9)
asked = arguments.parse_args()

torch.manual_seed(0)
sparse = sl.SparseLinear(asked.inputs, asked.outputs, sparsity=asked.sparsity)
dense: nn.Linear = sparse.to_dense()
x = torch.randn(asked.batch, asked.inputs)
dy = torch.randn(asked.batch, asked.outputs)

# Correct: output, and gradients of input, weights and bias.
mine, theirs = (x.clone().requires_grad_() for _ in range(2))
y, expected = sparse(mine), dense(theirs)
y.backward(dy)
expected.backward(dy)
torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
kept = dense.weight.grad[sparse.connectivity.mask()]  # in the order of `weights`
torch.testing.assert_close(sparse.weights.grad, kept, rtol=1e-3, atol=1e-3)
torch.testing.assert_close(sparse.bias.grad, dense.bias.grad, rtol=1e-4, atol=1e-4)
print("output and gradients agree")


def step(layer: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Forward and backward."""
    return lambda: layer(x).backward(dy)


# Timed in turn, so that what else the machine does meets both.
steps = {"nn.Linear": step(dense, theirs), "SparseLinear": step(sparse, mine)}
times: dict[str, list[float]] = {name: [] for name in steps}
for _ in range(12):
    for name, run in steps.items():
        start = time.perf_counter()
        run()
        times[name].append(time.perf_counter() - start)
for name, samples in times.items():
    print(f"{name:14} {1e3 * statistics.median(samples[2:]):8.3f} ms forward and backward")
