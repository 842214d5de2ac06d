"""nn.Linear through torch.compile: the dense layer at its best without changing the mathematics.

Both graphs, the one of inference and the one of training with its backward half, are compiled when
the module is built. `fullgraph` makes anything that would fall back to eager execution an error.
A first compilation takes several seconds (twenty for the first of a machine); PyTorch keeps what
it compiled on disk, by graph, shape and number of threads, and finds it again in the next process.
"""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of


class DenseCompiled(Dense):
    """`nn.Linear`, compiled in the default mode for the problem's shape."""

    name = "dense_compiled"
    operations = ("linear",)
    setup_s = 2.5

    def unavailable(self) -> str | None:
        """Look for the C++ compiler that torch.compile calls."""
        compilers = (os.environ.get("CXX"), "g++", "clang++")
        if any(shutil.which(compiler) for compiler in compilers if compiler):
            return None
        return "no C++ compiler for torch.compile; install with: apt-get install g++"

    def load(self) -> None:
        """Import what torch.compile does at its first call."""
        import torch._inductor.compile_fx  # noqa: F401

    def build(self, problem: Problem) -> nn.Module:
        """Compile the forward pass in place, and run every graph once."""
        linear = linear_of(problem)
        linear.compile(fullgraph=True, dynamic=False)
        x = problem.x.detach().requires_grad_()
        with torch.no_grad():
            linear(x)
        torch.autograd.backward(linear(x), problem.dy)
        linear.zero_grad()
        return linear
