"""`sparsebench sparsify`: what sparse layers do for a whole model, and for each of its layers."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn
from torch.utils._pytree import tree_map

from sparsebench.errors import InputError, StoreError
from sparsebench.measuring import machine
from sparsebench.models import crashes, measure, views
from sparsebench.models.asked import Asked
from sparsebench.models.records import Form
from sparsebench.models.variants import Phase
from sparsebench.output import console, errors, show
from sparsebench.views.tables import printed
from sparselayers.convert import Sparsified
from sparselayers.saved import save_pretrained


def sparsify(
    model: Annotated[
        str,
        typer.Argument(
            help="torchvision:NAME, timm:NAME, transformers:TYPE (such as transformers:bert), or "
            "MODULE:FUNCTION that returns a model."
        ),
    ],
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Shape of the input: 64,3,32,32 of images, 8,128 of tokens. By default the "
            "library's own, eight at once.",
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the model's configuration; may be repeated."),
    ] = None,
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
        float,
        typer.Option(
            help="At most this long for a layer whose times are close, and as long again where "
            "other programs disturbed them."
        ),
    ] = 1.0,
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or a GPU such as cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the model's weights and the input.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Weights for the model: of torch.save, safetensors, or a folder of Hugging Face. "
            "Pickled code is refused."
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Folder for the sparse model, for sparselayers.load_pretrained."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Swap sparse layers into a model where they pay, and measure it before and after."""
    machine.check_device(device)
    if save is not None:
        _check_place(save)  # before minutes of measuring
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    asked = Asked(
        model,
        _shape(input_shape),
        _config(config or []),
        seed,
        checkpoint,
        sparsity,
        distribution,
    )
    made = asked.make()
    before, x = made.model.to(device), tree_map(lambda t: t.to(device), made.example)
    phase: Phase = "inference" if inference else "training"
    try:
        result = measure.swapped(
            before,
            x,
            phase,
            seconds=seconds,
            threshold=threshold,
            skip=skip or (),
            criterion=criterion,
        )
        refused = crashes.found(asked, x, phase)
        found = measure.forms(before, result, x, phase, refused=refused)
    except Exception as error:  # of a model that somebody else wrote, for an input of this shape
        raise InputError(f"{model}: {type(error).__name__}: {error}") from error
    if as_json:
        typer.echo(json.dumps(_plain(result, found, phase)))
    else:
        _show(result, found, phase)
    if save is not None:  # last: what was measured is shown, whatever comes of that
        _save(result.model, save)
        errors.print(
            f"The sparse model is in {save}: sparselayers.load_pretrained({str(save)!r}, model) "
            "with a model of the same architecture.",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


def _show(result: Sparsified[nn.Module], found: dict[str, Form], phase: Phase) -> None:
    layers = [measure.layer(decision) for decision in result.decisions]
    if layers:
        show(printed(views.layers(layers)))
    said = [f"{path or '(the model)'}: {reason}" for path, reason in result.reasons.items()]
    for text in (*said, *result.notes):
        console.print(text, highlight=False, soft_wrap=True, markup=False)
    what = "forward + backward + step" if phase == "training" else "inference"
    show(printed(views.forms(found, f"Whole model, {what}")))
    for name, form in found.items():
        if form.message:
            console.print(f"{name}: {form.message}", highlight=False, soft_wrap=True, markup=False)


def _check_place(folder: Path) -> None:
    """Refuse what a model could not be saved with, or in."""
    if find_spec("safetensors") is None:
        raise InputError(
            f"--save {folder}: safetensors is needed; install with: pip install safetensors"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--save {folder}: is a file, and has to be a folder")


def _save(model: nn.Module, folder: Path) -> None:
    try:
        save_pretrained(model, folder)
    except ValueError as error:
        raise InputError(f"--save {folder}: {error}") from None
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _plain(result: Sparsified[nn.Module], found: dict[str, Form], phase: Phase) -> dict[str, Any]:
    """Return the answer as JSON has it: seconds and bytes."""
    return {
        "layers": [asdict(decision) for decision in result.decisions],
        "skipped": result.skipped,
        "notes": result.notes,
        "phase": phase,
        "model": views.plain_forms(found),
    }


def _shape(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--input must be positive integers such as 64,3,32,32, got {text!r}")
    return shape


def _config(given: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE; a value that is JSON is what it says, anything else is text."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise InputError(f"--config must be NAME=VALUE, such as num_hidden_layers=2: {pair!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
