"""`sparsebench sparsify`: what sparse layers do for a whole model, and for each of its layers."""

from __future__ import annotations

import importlib
import json
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sparsebench.errors import InputError, StoreError
from sparsebench.measuring import machine, memory
from sparselayers.convert import Sparsified, convert_model
from sparselayers.convert import sparsify as swap
from sparselayers.convert.measure import Times, compare
from sparselayers.layer import SparseLayer
from sparselayers.prune import Distribution, prune_to_sparsity
from sparselayers.sizes import nbytes

console = Console()

_WITHIN = ("state_dict", "model_state_dict", "model")  # where training scripts keep it


def sparsify(
    model: Annotated[
        str, typer.Argument(help="torchvision:NAME, or MODULE:FUNCTION that returns a model.")
    ],
    input_shape: Annotated[
        str, typer.Option("--input", help="Shape of the input, for example 64,3,32,32.")
    ],
    sparsity: Annotated[
        float | None,
        typer.Option(help="Prune to this sparsity first, the smallest magnitudes; in [0, 1)."),
    ] = None,
    distribution: Annotated[
        str, typer.Option(help="How the sparsity is spread: uniform, global, er or erk.")
    ] = "uniform",
    threshold: Annotated[
        float, typer.Option(help="Measure layers of at least this sparsity.")
    ] = 0.8,
    skip: Annotated[
        list[str] | None, typer.Option(help="A layer, or a part of the model, to leave alone.")
    ] = None,
    criterion: Annotated[
        str, typer.Option(help="Swap layers that need less time, or less memory.")
    ] = "time",
    inference: Annotated[
        bool, typer.Option("--inference", help="Measure forward only, without gradients.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(help="At most this long for a layer whose times are close.")
    ] = 1.0,
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or a GPU such as cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the model's weights and the input.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights for the model: a state dict, as torch.save wrote it."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the sparse model there, for torch.load with weights_only=False."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Swap sparse layers into a model where they pay, and measure it before and after."""
    machine.check_device(device)
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    shape = _shape(input_shape)
    try:
        before = load(model).to(device)
        if checkpoint is not None:
            restore(before, checkpoint)
        x = torch.randn(shape, device=device)
        if sparsity is not None:
            before = pruned(before, sparsity, distribution)
        before.train(not inference)
        result = swap(
            before,
            x,
            threshold=threshold,
            skip=skip or (),
            criterion=criterion,  # type: ignore[arg-type]  # checked there
            training=not inference,
            seconds=seconds,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{model}: {error}") from error
    if save is not None:
        _save(result.model, save)
    if as_json:
        typer.echo(json.dumps(_plain(measure(before, result, x, training=not inference), result)))
        return
    console.print(result.table(), highlight=False, soft_wrap=True)
    console.print(_shares(result), highlight=False, soft_wrap=True)
    for path, reason in result.skipped.items():
        console.print(f"{path}: not measured: {reason}", highlight=False, soft_wrap=True)
    console.print(_summary(measure(before, result, x, training=not inference)), highlight=False)


def load(name: str) -> nn.Module:
    """Return the model called `name`: torchvision:NAME, untrained, or MODULE:FUNCTION.

    Raises InputError where there is none of the name, or it is no model.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise InputError(f"{name}: expected torchvision:NAME or MODULE:FUNCTION")
    if module == "torchvision":
        from torchvision import models

        if function not in models.list_models():
            raise InputError(
                f"torchvision has no model {function!r}; it has {', '.join(models.list_models())}"
            )
        model = models.get_model(function, weights=None)
    else:
        try:
            model = getattr(importlib.import_module(module), function)()
        except (ImportError, AttributeError) as error:
            raise InputError(f"{name}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def restore(model: nn.Module, checkpoint: Path) -> None:
    """Load the weights in a file into `model`: a state dict, alone or under a usual name.

    Raises InputError, naming the file, where there is none or it does not fit. Nothing in the file
    is executed.
    """
    try:
        found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{checkpoint}: no such file") from None
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{checkpoint}: cannot be read: {reason}") from None
    for name in _WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not any(isinstance(v, Tensor) for v in found.values()):
        within = ", ".join(_WITHIN)
        raise InputError(f"{checkpoint}: holds no state dict, nor one under {within}")
    try:
        model.load_state_dict(dict(found))
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: {error}") from None


def _save(model: nn.Module, path: Path) -> None:
    try:
        torch.save(model, path)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{path}: cannot be written: {error}") from None


def pruned(model: nn.Module, sparsity: float, distribution: str) -> nn.Module:
    """Return a copy of a dense model whose Linear and Conv2d have zeros, of that sparsity."""
    sparse = convert_model(model, (nn.Linear, nn.Conv2d), "coo", keep_zeros=True)
    chosen: Distribution = distribution  # type: ignore[assignment]  # checked there
    prune_to_sparsity(sparse, sparsity, distribution=chosen)
    return convert_model(sparse, SparseLayer, "dense")


@dataclass(frozen=True)
class WholeModel:
    """A model before and after, in seconds and bytes.

    `held` counts parameters, buffers and connections, `peak` what a step needs above them;
    (before, after).
    """

    times: Times
    held: tuple[int, int]
    peak: tuple[int, int]
    training: bool


def measure(
    before: nn.Module, result: Sparsified[nn.Module], x: Tensor, *, training: bool
) -> WholeModel:
    """Time a step of both models side by side, and take the memory of both."""
    models = before, result.model
    steps = [_step(model, x, training) for model in models]
    times = compare(*steps, device=x.device, seconds=10.0)
    peaks = [memory.peak(step, str(x.device))[0] for step in steps]
    return WholeModel(times, (nbytes(before), nbytes(result.model)), (peaks[0], peaks[1]), training)


def _step(model: nn.Module, x: Tensor, training: bool) -> Callable[[], None]:
    def inference() -> None:
        with torch.no_grad():
            model(x)

    def forward_backward() -> None:
        model.zero_grad(set_to_none=True)
        outputs = [y for y in tree_leaves(model(x)) if isinstance(y, Tensor)]
        torch.autograd.backward([y.float().mean() for y in outputs])

    return forward_backward if training else inference


def _plain(found: WholeModel, result: Sparsified[nn.Module]) -> dict[str, Any]:
    """Return the answer as JSON has it: seconds and bytes."""
    return {
        "layers": [asdict(decision) for decision in result.decisions],
        "skipped": result.skipped,
        "model": {
            "training": found.training,
            "before": {"time_s": found.times.first, "held": found.held[0], "peak": found.peak[0]},
            "after": {"time_s": found.times.second, "held": found.held[1], "peak": found.peak[1]},
            "share_of_time": {
                "value": found.times.ratio,
                "low": found.times.low,
                "high": found.times.high if math.isfinite(found.times.high) else None,
            },
        },
    }


def _shares(result: Sparsified[nn.Module]) -> str:
    """Return, layer by layer, sparse time over dense, with its interval."""
    lines = [
        f"{d.path or '(the model)'}: sparse takes {d.times.ratio:.2f} "
        f"({d.times.low:.2f}–{d.times.high:.2f}) of the time of dense"
        for d in result.decisions
    ]
    return "\n".join(["", *lines])


def _summary(found: WholeModel) -> str:
    times, phase = found.times, "forward + backward" if found.training else "inference"
    megabytes = [[f"{n / 1e6:.1f} MB" for n in pair] for pair in (found.held, found.peak)]
    rows = [
        (
            phase,
            [f"{t * 1e3:.1f} ms" for t in (times.first, times.second)],
            times.first / times.second,
            f" ({1 / times.high:.2f}–{1 / times.low:.2f})" if times.low > 0 else " (can't tell)",
        ),
        ("parameters", megabytes[0], found.held[0] / found.held[1], ""),
        ("peak above", megabytes[1], found.peak[0] / max(1, found.peak[1]), ""),
    ]
    head = f"{'whole model':<20}{'before':>12}{'after':>12}{'ratio':>8}"
    return "\n".join(
        [
            "",
            head,
            *(
                f"{name:<20}{a:>12}{b:>12}{ratio:>7.2f}×{ends}"
                for name, (a, b), ratio, ends in rows
            ),
        ]
    )


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--input must be positive integers such as 64,3,32,32, got {text!r}")
    return shape
