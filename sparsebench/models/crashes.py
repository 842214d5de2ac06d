"""Which forms of a model would end the process that makes them, found out in another."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from sparsebench.measuring import isolation
from sparsebench.models import variants
from sparsebench.models.asked import Asked
from sparsebench.models.records import OTHERS
from sparsebench.models.variants import NotMeasured, Phase

_LONG_S = 3600.0  # SparseProp times every layer of a model before it swaps


def found(asked: Asked, example: Any, phase: Phase) -> dict[str, str]:
    """Return the forms of a model that are not to be made here for `example`, with why.

    Those of other libraries whose code ends the process, or has no end, in making the model or in
    one step. What merely fails says so where it is measured.
    """
    if variants.why_no_sparseprop(example):
        return {}
    try:
        isolation.call(_one_step, asked, phase, torch.get_num_threads(), timeout_s=_LONG_S)
    except isolation.Failure as failure:
        if isinstance(failure, isolation.Crash) or failure.status in ("timeout", "oom"):
            return dict.fromkeys(OTHERS, str(failure))
    return {}


def _one_step(asked: Asked, phase: Phase, threads: int) -> None:
    torch.set_num_threads(threads)
    made = asked.make()
    made.model.train(phase == "training")
    with suppress(NotMeasured):
        variants.step(variants.sparseprop(made.model, made.example), made.example, phase)()
