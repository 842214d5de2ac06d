"""Which command measures again what a chapter shows."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.analysis.order import PHASES
from sparsebench.analysis.point import Point
from sparsebench.cases import sweep
from sparsebench.cases.case import USUAL, Case


def again(name: str, points: Sequence[Point]) -> tuple[str, str]:
    """Return what the chapter `name` is called in a sentence, and the command that measures it.

    Where no sweep of the suite has the name (the advisor's records, those of a file of somebody's
    own), it is the command for the layer that has the most records; "" where there is none.
    """
    if name in sweep.names():
        return "this", f"sparsebench run {name}"
    layers: dict[str, list[Case]] = {}
    for point in points:
        if _is_usual(point.case):
            layers.setdefault(_layer(point.case), []).append(point.case)
    if not layers:
        return "", ""
    layer = max(layers, key=lambda each: len(layers[each]))
    cases = layers[layer]
    sparsities = ",".join(f"{s:g}" for s in sorted({case.sparsity for case in cases}))
    phases = ",".join(p for p in PHASES if p in {case.phase for case in cases})
    every = len(cases) == len(points)
    return (
        "this" if every else "one of these layers",
        f"{layer} --sparsity {sparsities} --phase {phases}",
    )


def _is_usual(case: Case) -> bool:
    return (
        case.operation in ("linear", "conv2d")
        and (case.topology, case.seed) == ("random", 0)
        and case.phase in ("inference", "forward_backward", "train_step")
        and all(getattr(case, name) == usual for name, usual in USUAL.items())
    )


def _layer(case: Case) -> str:
    """Return the command for all sparsities and phases of a layer."""
    if case.operation == "linear":
        layer = f"compare-linear --in {case.in_features} --out {case.out_features}"
    else:
        shown = ("image", "kernel", "stride", "padding", "groups")
        layer = f"compare-conv2d --channels {case.in_features},{case.out_features} "
        layer += " ".join(f"--{name} {getattr(case, name)}" for name in shown)
    return (
        f"sparsebench {layer} --batch {case.batch} --threads {case.threads} "
        f"--device {case.device} --dtype {case.dtype}"
    )
