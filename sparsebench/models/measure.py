"""Measure one model in this process: its layers by `sparsify`, then all its forms in turns."""

from __future__ import annotations

import copy
import gc
import io
import math
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from sparsebench.measuring import memory, quality, timing
from sparsebench.measuring.isolation import describe
from sparsebench.models import pruning
from sparsebench.models.asked import Asked
from sparsebench.models.records import FORMS, OTHERS, Form, Layer, ModelCase
from sparsebench.models.variants import NotMeasured, Phase, deviation, masked, sparseprop, step
from sparselayers import sizes
from sparselayers.convert import Decision, Sparsified, sparsify

WHOLE_S = 8.0  # for the steps of all forms
LEAST_ROUNDS, MOST_ROUNDS = 5, 15
TAKES = 3  # of the steps of all forms, while other work disturbs them
PAUSE_S = 2.0  # before a take that follows a disturbed one: what disturbs comes and goes
TOLERANCE = 1e-4  # of outputs, relative to the largest


def measure(
    case: ModelCase, layer_s: float, refused: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the fields of a record that are measured; `layer_s` bounds the time for a layer.

    `refused` are forms that are not to be made, with why.

    Raises InputError for a model that is not there, and what it raises for its example input;
    ArithmeticError where the sparse model's outputs are others.
    """
    torch.set_num_threads(case.threads)
    made = Asked(
        case.model,
        case.input,
        dict(case.config),
        case.seed,
        sparsity=case.sparsity,
        distribution=case.distribution,
    ).make()
    result = swapped(made.model, made.example, case.phase, seconds=layer_s)
    apart = deviation(result.model, made.model, made.example)
    if not apart <= TOLERANCE:
        raise ArithmeticError(f"outputs differ by {apart:.1e} of the largest, over {TOLERANCE:g}")
    zeros = [mask for _, mask in pruning.masks(made.model)]
    return {
        "weights": sum(mask.numel() for mask in zeros),
        "nonzero": sum(int(mask.sum()) for mask in zeros),
        "layers": [layer(decision) for decision in result.decisions],
        "skipped": result.skipped,
        "deviation": apart,
        "forms": forms(made.model, result, made.example, case.phase, refused=refused),
    }


def swapped(
    model: nn.Module, example: Any, phase: Phase, *, seconds: float, **options: Any
) -> Sparsified[nn.Module]:
    """Return what `sparselayers.sparsify` makes of a model in the mode of the phase."""
    model.train(phase == "training")
    return sparsify(model, example, training=phase == "training", seconds=seconds, **options)


def layer(decision: Decision) -> Layer:
    """Return a decision as records have it."""
    times = decision.times
    return Layer(
        **{
            name: getattr(decision, name)
            for name in ("path", "kind", "shape", "input_shape", "sparsity", "bytes_saved")
        },
        reason=decision.reason,
        disturbed=times.disturbed,
        chosen=decision.chosen,
        dense_s=times.first,
        sparse_s=times.second,
        low=times.low,
        high=times.high if math.isfinite(times.high) else None,
    )


def forms(
    dense: nn.Module,
    result: Sparsified[nn.Module],
    example: Any,
    phase: Phase,
    *,
    refused: Mapping[str, str] | None = None,
) -> dict[str, Form]:
    """Return what each form takes; their steps are timed in turns, on a CPU all in one round."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "dense": lambda: copy.deepcopy(dense),
        "masked": lambda: masked(dense),
        "sparse": lambda: result.model,
        "sparseprop": lambda: sparseprop(dense, example),
    }
    device = next(dense.parameters()).device
    found: dict[str, Form] = {}
    steps: dict[str, Callable[[], None]] = {}
    for name in FORMS:
        try:
            if refused and name in refused:
                raise NotMeasured(refused[name])
            model = makers[name]()
            one = step(model, example, phase)
            one()
        except NotMeasured as reason:
            found[name] = Form(message=str(reason))
            continue
        except Exception as error:  # of others' code, whatever it raises in a backward pass
            if name not in OTHERS:
                raise
            found[name] = Form(message=f"fails: {describe(error)}")
            continue
        one()
        rise, _ = memory.peak(one, str(device))
        held = sum(tensor.nbytes for tensor in sizes.held(model))
        found[name] = Form(held=held, peak=rise, checkpoint=checkpoint_size(model))
        steps[name] = one
        gc.collect()
    begin = time.perf_counter()
    for one in steps.values():
        one()
    once = max(time.perf_counter() - begin, 1e-4)
    rounds = min(MOST_ROUNDS, max(LEAST_ROUNDS, round(WHOLE_S / once)))
    for name, (samples, why) in undisturbed(steps, rounds).items():
        found[name] = found[name].model_copy(update={"samples": samples, "disturbed": why})
    return found


def undisturbed(
    steps: Mapping[str, Callable[[], None]], rounds: int
) -> dict[str, tuple[list[float], str]]:
    """Return samples of steps, taken in turns, and what disturbed them, "" if nothing did.

    Where other work had the cores all are taken again, up to TAKES times in all; the take with the
    fewest disturbed forms counts, of several the first: how fast they are plays no part.
    """
    takes = []
    for take in range(TAKES):
        if take:
            time.sleep(PAUSE_S)
        before = quality.Moment.now()
        turns = timing.in_turns(steps, rounds=rounds, seconds=timing.SAMPLE_S)
        around = quality.conditions(before, quality.Moment.now())
        takes.append(
            {
                name: (one.samples, quality.disturbance(one.samples, one.strains, around))
                for name, one in turns.items()
            }
        )
        if not any(why for _, why in takes[-1].values()):
            break
    return min(takes, key=lambda forms: sum(bool(why) for _, why in forms.values()))


def checkpoint_size(model: nn.Module) -> int:
    """Return how many bytes torch.save writes of a model's state."""
    state = {n: v.detach() if isinstance(v, Tensor) else v for n, v in model.state_dict().items()}
    counter = _Counter()
    torch.save(state, cast(IO[bytes], counter))
    return counter.most


class _Counter(io.RawIOBase):
    """A file that only counts."""

    def __init__(self) -> None:
        self.at = self.most = 0

    def write(self, data: Any) -> int:
        """Count what is written."""
        size = memoryview(data).nbytes
        self.at += size
        self.most = max(self.most, self.at)
        return size

    def tell(self) -> int:
        """Return where the next write would go."""
        return self.at

    def writable(self) -> bool:
        """Take everything."""
        return True
