"""sparsify: sparse layers where they pay, decided by measurement, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from sparselayers import dense
from sparselayers.conv import SparseConv2d
from sparselayers.convert import examples
from sparselayers.convert.layer import SPARSE
from sparselayers.convert.measure import Times, compare
from sparselayers.convert.model import Skip, private_modules, replace_modules, to_skip
from sparselayers.layer import SparseLayer
from sparselayers.sizes import nbytes
from sparselayers.weight import Format, check_format

Model = TypeVar("Model", bound=nn.Module)
Criterion = Literal["time", "memory"]


@dataclass(frozen=True)
class Decision:
    """What was measured of a layer, and what stands in the new model.

    Times are those of one call, forward and backward unless `sparsify` was told otherwise;
    `bytes_saved` counts parameters and connections, and is negative where the sparse one has more.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    sparsity: float
    times: Times
    chosen: Literal["dense", "sparse"]
    bytes_saved: int


@dataclass(frozen=True)
class Sparsified(Generic[Model]):
    """The new model, and why each of its layers is what it is.

    `skipped` says of every other Linear and Conv2d why it was not measured.
    """

    model: Model
    decisions: tuple[Decision, ...]
    skipped: dict[str, str]

    @property
    def bytes_saved(self) -> int:
        """Bytes of parameters and connections that the chosen layers save."""
        return sum(d.bytes_saved for d in self.decisions if d.chosen == "sparse")

    def table(self) -> str:
        """Return a table: layer, shape, sparsity, dense and sparse time, choice, bytes saved."""
        head = ("layer", "shape", "sparsity", "dense ms", "sparse ms", "chosen", "bytes saved")
        rows = [
            (
                d.path or "(the model)",
                "×".join(map(str, d.shape)),
                f"{d.sparsity:.1%}",
                f"{d.times.first * 1e3:.3f}",
                f"{d.times.second * 1e3:.3f}",
                d.chosen,
                f"{d.bytes_saved:,}",
            )
            for d in self.decisions
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, 1, 5) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *rows)
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)


def sparsify(
    model: Model,
    example_input: Any,
    *,
    threshold: float = 0.8,
    criterion: Criterion = "time",
    training: bool = True,
    skip: Skip = (),
    format: Format = "csr",
    seconds: float = 1.0,
    verbose: bool = False,
    inplace: bool = False,
) -> Sparsified[Model]:
    """Return a copy of `model` with sparse layers in place of dense ones that they beat.

    Every nn.Linear and nn.Conv2d of which at least `threshold` of the weights are zero is measured
    beside its sparse twin, with inputs of the shape that the model gives it for `example_input`:
    forward and backward, or forward only if not `training`. It is replaced if the sparse one is
    faster, with 95% confidence; by `criterion="memory"` if it is smaller. `seconds` limits the
    time spent on a layer whose two times are close. `verbose` prints the table of the result.

    A tuple as `example_input` holds the arguments of the model; a dict holds keyword arguments,
    where the model has those; anything else is the one argument (put into a tuple, a dict is too).
    `skip` leaves layers alone: paths of them, or of modules that they are in, or a function of
    path and layer. With `inplace` the model itself is changed at the end, and returned.

    A layer that is used several times stays shared and is measured with its first input. The model
    runs once, as in evaluation, and as a copy of all but its parameters: what it keeps in buffers
    and attributes is as before.

    Raises what the model raises for the example input, ValueError for a threshold outside [0, 1],
    an unknown criterion or format, a path in `skip` that is no such layer, and where the model
    itself is a layer to replace in place; TypeError for another `skip`.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    if criterion not in ("time", "memory"):
        raise ValueError(f"criterion must be one of time, memory, got {criterion!r}")
    check_format(format)
    if inplace and isinstance(model, KINDS):
        raise ValueError("the model itself is a layer: it has no place to be replaced in")
    candidates, skipped = _candidates(model, threshold, skip)
    inputs, read = examples.inputs(model, example_input, candidates.values())
    decisions, new = [], dict[nn.Module, nn.Module]()
    for path, layer in candidates.items():
        if layer not in inputs:
            skipped[path] = READ if layer in read else "the example input does not reach it"
            continue
        sparse = _twin(layer, format)
        decision = _decide(path, layer, sparse, inputs[layer], training, criterion, seconds)
        decisions.append(decision)
        if decision.chosen == "sparse":
            new[layer] = sparse
    result = Sparsified(replace_modules(model, new, inplace=inplace), tuple(decisions), skipped)
    if verbose:
        print(result.table())
    return result


KINDS = tuple(sparse.dense_type for sparse in SPARSE)
READ = "its parent reads its weight itself"


def _candidates(
    model: nn.Module, threshold: float, skip: Skip
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the layers to measure by path, and why the others are not."""
    found = {path: layer for path, layer in model.named_modules() if isinstance(layer, KINDS)}
    candidates, private, asked = {}, private_modules(model), to_skip(model, KINDS, skip)
    skipped: dict[str, str] = {}
    for path, layer in found.items():
        if layer in asked:
            skipped[path] = "asked to skip"
            continue
        try:
            sparsity = _sparsity(layer)
        except (TypeError, ValueError) as error:
            skipped[path] = str(error)
            continue
        if layer in private:
            skipped[path] = READ
        elif sparsity < threshold:
            skipped[path] = f"{sparsity:.1%} of its weights are zero"
        elif sparsity == 1.0:
            skipped[path] = "all of its weights are zero"
        else:
            candidates[path] = layer
    return candidates, skipped


def _twin(layer: nn.Module, format: Format) -> SparseLayer:
    for sparse in SPARSE:
        if dense.is_plain(layer, sparse.dense_type):
            return sparse.from_dense(layer, format=format)
    raise TypeError(f"cannot convert a {type(layer).__name__}")


def _decide(
    path: str,
    layer: nn.Module,
    sparse: SparseLayer,
    x: Tensor,
    training: bool,
    criterion: Criterion,
    seconds: float,
) -> Decision:
    # Others without the hooks of the original, which are not to be called for this.
    plain = sparse.to_dense()
    twin = _twin(plain, sparse.format)
    for module in (plain, twin):
        for name in dense.HOOKS:
            getattr(module, name).clear()
    times = compare(
        _step(plain, x, training), _step(twin, x, training), device=x.device, seconds=seconds
    )
    saved = nbytes(plain) - nbytes(twin)
    better = times.high < 1.0 if criterion == "time" else saved > 0
    return Decision(
        path,
        type(plain).__name__,
        sparse.weight_shape if isinstance(sparse, SparseConv2d) else sparse.shape,
        tuple(x.shape),
        sparse.sparsity,
        times,
        "sparse" if better else "dense",
        saved,
    )


def _step(layer: nn.Module, x: Tensor, training: bool) -> Any:
    """One call of `layer`, forward and backward where anything needs a gradient."""
    leaves: list[Tensor] = [p for p in layer.parameters(recurse=False) if p.requires_grad]
    x = x.detach().requires_grad_(x.requires_grad)
    leaves += [x] if x.requires_grad else []
    if not training or not leaves:

        def inference() -> None:
            with torch.no_grad():
                layer(x)

        return inference
    dy = torch.randn_like(layer(x).detach())

    def step() -> None:
        torch.autograd.grad(layer(x), leaves, dy)

    return step


def _sparsity(layer: nn.Module) -> float:
    kind = next(s.dense_type for s in SPARSE if isinstance(layer, s.dense_type))
    weight, _ = dense.parameters_of(layer, kind)
    return 1.0 - int(torch.count_nonzero(weight)) / weight.numel()
