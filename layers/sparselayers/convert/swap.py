"""sparsify: sparse layers where they pay, decided by measurement, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparselayers import dense
from sparselayers.attention import PROJECTIONS, SparseMultiheadAttention
from sparselayers.conv import SparseConv2d
from sparselayers.convert import examples, ties, transposed
from sparselayers.convert.attention import rebuilt
from sparselayers.convert.decisions import (
    DISTURBED,
    Decision,
    Model,
    Sparsified,
    notes,
    share,
    why_dense,
    why_larger,
)
from sparselayers.convert.layer import SPARSE
from sparselayers.convert.measure import Times, again, compare
from sparselayers.convert.model import Skip, private_modules, replace_modules, to_skip
from sparselayers.convert.whole import compare_models
from sparselayers.layer import SparseLayer
from sparselayers.sizes import nbytes
from sparselayers.weight import Format, check_format

Criterion = Literal["time", "memory"]


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

    Every layer that `convert` knows, and every projection of nn.MultiheadAttention, of which at
    least `threshold` of the weights are zero is measured beside its sparse twin, with inputs of
    the shape that the model gives it for `example_input`: forward and backward, or forward only if
    not `training`. It is replaced if the sparse one is faster, with 95% confidence; by
    `criterion="memory"` if it is smaller. Then the whole model is measured too: while it is not
    faster with the chosen layers than without, the half of them that gained least stays dense.
    `seconds` limits the time spent on a layer, or the whole, whose two times are close. Times that
    scatter as they do beside other programs are taken again later, for at most as long once more
    for each. The result says why a layer is dense, and what stayed disturbed; `verbose` prints that
    as a table.

    A tuple as `example_input` holds the arguments of the model; a dict holds keyword arguments,
    where the model has those; anything else is the one argument (put into a tuple, a dict is too).
    `skip` leaves layers alone: paths of them, or of modules that they are in, or a function of
    path and layer. With `inplace` the model itself is changed at the end, and returned.

    A layer that is used several times stays shared and is measured with its first input. One that
    shares its weight with another layer, such as an embedding, stays as it is. Attention of which a
    projection is replaced becomes a SparseMultiheadAttention. The model runs as in evaluation, and
    as a copy of all but its parameters: what it keeps in buffers and attributes is as before.

    Raises what the model raises for the example input, ValueError for a threshold outside [0, 1],
    an unknown criterion or format, a path in `skip` that is no such layer, and where the model
    itself is a layer to replace in place; TypeError for another `skip`.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    if criterion not in ("time", "memory"):
        raise ValueError(f"criterion must be one of time, memory, got {criterion!r}")
    check_format(format)
    if inplace and isinstance(model, (*kinds(), nn.MultiheadAttention)):
        raise ValueError("the model itself is a layer: it has no place to be replaced in")
    opened = _opened(model, threshold)
    candidates, skipped, few = _candidates(model, threshold, skip, opened)
    inputs, read = examples.inputs(model, example_input, candidates.values(), opened)
    for path, layer in candidates.items():
        if layer not in inputs:
            skipped[path] = READ if layer in read else "the example input does not reach it"
    made = dict[nn.Module, nn.Module]()

    def decide(path: str) -> Decision:
        layer = candidates[path]
        sparse = _twin(layer, format)
        decision = _decide(path, layer, sparse, inputs[layer], training, criterion, seconds)
        if decision.chosen == "sparse":
            made[layer] = sparse
        return decision

    paths = [path for path, layer in candidates.items() if layer in inputs]
    decisions = [decide(path) for path in paths]
    if criterion == "time":
        decisions = again(
            decisions, lambda place: decide(paths[place]), lambda one: one.times, seconds=seconds
        )
    chosen = [candidates[d.path] for d in decisions if d.chosen == "sparse"]
    twins = {layer: made[layer] for layer in chosen}
    whole, why = None, ""
    if criterion == "time" and twins:

        def measure(some: Mapping[nn.Module, nn.Module]) -> Times | None:
            return compare_models(
                model,
                _places(some, opened),
                example_input,
                training=training,
                device=next(iter(inputs.values())).device,
                seconds=seconds,
            )

        twins, whole, why = _that_pay(twins, candidates, decisions, measure, seconds)
    told = tuple(
        replace(d, chosen="dense", reason=why)
        if d.chosen == "sparse" and candidates[d.path] not in twins
        else d
        for d in decisions
    )
    new = _places(twins, opened)
    model = replace_modules(model, new, inplace=inplace)
    result = Sparsified(model, told, skipped, whole, notes(told, whole, few, threshold))
    if verbose:
        print(result.table())
    return result


def _that_pay(
    twins: dict[nn.Module, nn.Module],
    candidates: Mapping[str, nn.Module],
    decisions: list[Decision],
    measure: Callable[[Mapping[nn.Module, nn.Module]], Times | None],
    seconds: float,
) -> tuple[dict[nn.Module, nn.Module], Times | None, str]:
    """Return those of the twins with which the whole model is faster, and its times with them.

    And why the others are not among them. A layer that is faster by itself may cost its neighbours
    more, and where many are tried some win by chance. While the whole is not faster, the half of
    them that gained least goes back.
    """
    gains = {candidates[d.path]: d.times.first - d.times.second for d in decisions}
    ordered = sorted(twins, key=lambda layer: gains[layer], reverse=True)
    why = "faster by itself, but the whole model is not with it"
    while ordered:
        kept = {layer: twins[layer] for layer in ordered}
        times = measure(kept)
        if times is not None and times.disturbed:
            times = _later(times, partial(measure, kept), seconds)
        if times is None or times.ratio < 1.0:
            return kept, times, why
        if times.disturbed and DISTURBED not in why:
            why += DISTURBED
        ordered = ordered[: len(ordered) // 2]
    return {}, None, why


def _later(first: Times, take: Callable[[], Times | None], seconds: float) -> Times:
    """Return times of the whole model that were taken again where these are better."""
    return again([first], lambda _: take() or first, lambda times: times, seconds=seconds)[0]


def _places(
    twins: Mapping[nn.Module, nn.Module], opened: Mapping[nn.Module, SparseMultiheadAttention]
) -> dict[nn.Module, nn.Module]:
    """Return what stands in the place of which module; of attention with sparse projections one."""
    new = dict(twins)
    for attention, projections in opened.items():
        layers = [getattr(projections, name) for name in PROJECTIONS]
        if any(layer in new for layer in layers):
            new[attention] = rebuilt(projections, [new.pop(layer, layer) for layer in layers])
    return new


READ = "its parent reads its weight itself"
NONE: dict[type[nn.Module], str] = {
    nn.Embedding: "it looks rows up and multiplies nothing",
    nn.EmbeddingBag: "it looks rows up and multiplies nothing",
    nn.Bilinear: "there is no sparse Bilinear: its weight has two inputs",
    nn.RNNBase: "there is no sparse recurrent layer: PyTorch fuses its steps",
    nn.RNNCellBase: "there is no sparse recurrent layer",
    nn.Conv3d: "there is no sparse Conv3d",
    nn.ConvTranspose1d: "there is no sparse transposed convolution",
    nn.ConvTranspose2d: "there is no sparse transposed convolution",
    nn.ConvTranspose3d: "there is no sparse transposed convolution",
}


def kinds() -> tuple[type[nn.Module], ...]:
    """Return the types of layers that have a sparse twin."""
    return (*(sparse.dense_type for sparse in SPARSE), *transposed.kinds())


def _opened(model: nn.Module, threshold: float) -> dict[nn.Module, SparseMultiheadAttention]:
    """Return for attention with enough zeros one that computes the same by layers."""
    opened = {}
    for module in model.modules():
        if dense.is_plain(module, nn.MultiheadAttention):
            try:
                new = SparseMultiheadAttention.from_dense(module)
            except (TypeError, ValueError):
                continue  # its own layers are named as skipped
            if any(_sparsity(getattr(new, name)) >= threshold for name in PROJECTIONS):
                opened[module] = new
    return opened


def _candidates(
    model: nn.Module,
    threshold: float,
    skip: Skip,
    opened: Mapping[nn.Module, SparseMultiheadAttention],
) -> tuple[dict[str, nn.Module], dict[str, str], dict[str, float]]:
    """Return the layers to measure by path, why the others are not, and who has too few zeros."""
    found = _layers(model, opened)
    private, shared = private_modules(model), ties.tied(model)
    asked = to_skip(model, kinds(), skip, more=found)
    candidates: dict[str, nn.Module] = {}
    few: dict[str, float] = {}
    skipped = {path: why for path, module in model.named_modules() if (why := _none(module))}
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
            few[path] = sparsity
            skipped[path] = (
                f"{sparsity:.1%} of its weights are zero, measured from {share(threshold)} on"
            )
        elif sparsity == 1.0:
            skipped[path] = "all of its weights are zero"
        elif layer in shared:
            skipped[path] = ties.sharing([path for path, _ in shared[layer]])
        else:
            candidates[path] = layer
    return candidates, skipped, few


def _layers(
    model: nn.Module, opened: Mapping[nn.Module, SparseMultiheadAttention]
) -> dict[str, nn.Module]:
    """Return the layers that have sparse twins by path; of opened attention its projections."""
    inside = {layer for attention in opened for layer in attention.children()}
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if module in opened:
            prefix = f"{path}." if path else ""
            found |= {f"{prefix}{name}": getattr(opened[module], name) for name in PROJECTIONS}
        elif isinstance(module, kinds()) and module not in inside:
            found[path] = module
    return found


def _none(module: nn.Module) -> str | None:
    """Say why a layer with a weight has no sparse twin, or None."""
    return next((why for kind, why in NONE.items() if isinstance(module, kind)), None)


def _twin(layer: nn.Module, format: Format) -> SparseLayer:
    layer = transposed.as_linear(layer)
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
    if criterion == "time":
        why = "" if times.high < 1.0 else why_dense(times, sparse.sparsity)
    else:
        why = "" if saved > 0 else why_larger(twin, -saved)
    return Decision(
        path,
        type(plain).__name__,
        sparse.weight_shape if isinstance(sparse, SparseConv2d) else sparse.shape,
        tuple(x.shape),
        sparse.sparsity,
        times,
        "dense" if why else "sparse",
        saved,
        why,
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
    # Not random numbers: what the caller draws next must not depend on how often times are taken.
    dy = torch.ones_like(layer(x).detach())

    def step() -> None:
        torch.autograd.grad(layer(x), leaves, dy)

    return step


def _sparsity(layer: nn.Module) -> float:
    layer = transposed.as_linear(layer)
    own = (s.dense_type for s in SPARSE if isinstance(layer, s.dense_type))
    kind = next(own, nn.Linear)  # which says what it is not
    weight, _ = dense.parameters_of(layer, kind)
    return 1.0 - int(torch.count_nonzero(weight)) / weight.numel()
