"""Layers whose steps are CUDA graphs: a step is one launch, as in a training loop that has such."""

from __future__ import annotations

from typing import Any

from torch import nn

from sparsebench.cases.problem import Problem
from sparselayers import accelerator


def graphed(module: nn.Module, problem: Problem) -> nn.Module:
    """Have every step of `module` captured whole, and repeated: see `phases.Captured`."""
    captured: Any = accelerator.of(problem.values.device).captured
    module.captured = captured
    return module
