"""Compiled models run eagerly for as long as somebody needs their hooks to run."""

from __future__ import annotations

from contextlib import ExitStack

import torch

_holders = 0
_stance = ExitStack()


def run_eagerly() -> ExitStack:
    """Make compiled models run eagerly until the stack that is returned is closed.

    There is one such switch for the process, and there may be several holders, who need not let
    go in any order: it is counted.
    """
    global _holders
    if _holders == 0:
        _stance.enter_context(torch.compiler.set_stance("force_eager"))
    _holders += 1
    holder = ExitStack()
    holder.callback(_let_go)
    return holder


def _let_go() -> None:
    global _holders
    _holders -= 1
    if _holders == 0:
        _stance.close()
