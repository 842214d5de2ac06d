"""sparsify: sparse layers where they pay, decided by measurement, layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from sparselayers import dense
from sparselayers.conv import SparseConv2d
from sparselayers.convert.layer import SPARSE
from sparselayers.convert.measure import Times, compare
from sparselayers.convert.model import private_modules, replace_modules
from sparselayers.layer import Format, SparseLayer

Model = TypeVar("Model", bound=nn.Module)
Criterion = Literal["time", "memory"]


@dataclass(frozen=True)
class Decision:
    """What was measured of a layer, and what stands in the new model.

    Times are those of one call, forward and backward unless `sparsify` was told otherwise;
    `bytes_saved` counts parameters and buffers, and is negative where the sparse layer has more.
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
        """Bytes of parameters and buffers that the chosen layers save."""
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
    skip: Iterable[str] = (),
    format: Format = "csr",
    seconds: float = 1.0,
    verbose: bool = False,
) -> Sparsified[Model]:
    """Return a copy of `model` with sparse layers in place of dense ones that they beat.

    Every nn.Linear and nn.Conv2d of which at least `threshold` of the weights are zero is measured
    beside its sparse twin, with inputs of the shape that `model(*example_input)` gives it:
    forward and backward, or forward only if not `training`. It is replaced if the sparse one is
    faster, with 95% confidence; by `criterion="memory"` if it is smaller. `example_input` is a
    tensor or a tuple of arguments; `skip` names layers to leave alone; `seconds` limits the time
    spent on a layer whose two times are close. `verbose` prints the table of the result.

    A layer that is used several times stays shared and is measured with its first input. `model`
    is left as it is, and so are its running statistics: it runs once as in evaluation.

    Raises what the model raises for the example input, and ValueError for a threshold outside
    [0, 1], an unknown criterion or format, and a name in `skip` that is no layer.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    if criterion not in ("time", "memory"):
        raise ValueError(f"criterion must be one of time, memory, got {criterion!r}")
    candidates, skipped = _candidates(model, threshold, tuple(skip))
    arguments = example_input if isinstance(example_input, tuple) else (example_input,)
    inputs = _inputs(model, arguments, candidates)
    decisions, new = [], dict[nn.Module, nn.Module]()
    for path, layer in candidates.items():
        if layer not in inputs:
            skipped[path] = "the example input does not reach it"
            continue
        sparse = _twin(layer, format)
        decision = _decide(path, layer, sparse, inputs[layer], training, criterion, seconds)
        decisions.append(decision)
        if decision.chosen == "sparse":
            new[layer] = sparse
    result = Sparsified(replace_modules(model, new), tuple(decisions), skipped)
    if verbose:
        print(result.table())
    return result


def _candidates(
    model: nn.Module, threshold: float, skip: tuple[str, ...]
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the layers to measure by path, and why the others are not."""
    kinds = tuple(sparse.dense_type for sparse in SPARSE)
    found = {path: layer for path, layer in model.named_modules() if isinstance(layer, kinds)}
    for path in skip:
        if path not in found:
            raise ValueError(f"the model has no Linear or Conv2d {path!r} to skip")
    candidates, skipped, private = {}, dict.fromkeys(skip, "asked to skip"), private_modules(model)
    for path, layer in found.items():
        if path in skipped:
            continue
        try:
            sparsity = _sparsity(layer)
        except (TypeError, ValueError) as error:
            skipped[path] = str(error)
            continue
        if layer in private:
            skipped[path] = "its parent reads its weight itself"
        elif sparsity < threshold:
            skipped[path] = f"{sparsity:.1%} of its weights are zero"
        elif sparsity == 1.0:
            skipped[path] = "all of its weights are zero"
        else:
            candidates[path] = layer
    return candidates, skipped


def _inputs(
    model: nn.Module, arguments: tuple[Any, ...], layers: dict[str, nn.Module]
) -> dict[nn.Module, Tensor]:
    """Return a random input like the one that each layer gets; the model stays as it was."""
    inputs: dict[nn.Module, Tensor] = {}

    def remember(layer: nn.Module, given: tuple[Any, ...]) -> None:
        if layer not in inputs and given and isinstance(given[0], Tensor):
            x = torch.randn_like(given[0])
            inputs[layer] = x.requires_grad_(given[0].requires_grad)

    handles = [layer.register_forward_pre_hook(remember) for layer in layers.values()]
    training = {module: module.training for module in model.modules()}
    state = torch.get_rng_state()
    try:
        with torch.enable_grad():
            model.eval()(*arguments)
    finally:
        torch.set_rng_state(state)
        for handle in handles:
            handle.remove()
        for module, flag in training.items():
            module.training = flag
    return inputs


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
    # Copies without the hooks of the original, which are not to be called for this.
    plain, twin = sparse.to_dense(), copy.deepcopy(sparse)
    for module in (plain, twin):
        for name in dense.HOOKS:
            getattr(module, name).clear()
    times = compare(
        _step(plain, x, training), _step(twin, x, training), device=x.device, seconds=seconds
    )
    saved = _bytes(plain) - _bytes(twin)
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
    leaves: list[Tensor] = [p for p in layer.parameters() if p.requires_grad]
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


def _bytes(layer: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*layer.parameters(), *layer.buffers()))
