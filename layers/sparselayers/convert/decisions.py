"""What sparsify found out of each layer, what it chose, and why: as data and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from torch import nn

from sparselayers.convert.measure import SCATTER, SPOILED, Times
from sparselayers.layer import SparseLayer

Model = TypeVar("Model", bound=nn.Module)

DISTURBED = ", by times that were disturbed"
_HARDLY = 0.9995  # a share of zeros from which on there is hardly a layer left
_NAMED = 4  # layers in a sentence, at most


@dataclass(frozen=True)
class Decision:
    """What was measured of a layer, what stands in the new model, and why where that is dense.

    Times are those of one call, forward and backward unless `sparsify` was told otherwise;
    `times.disturbed` says that other programs had the cores meanwhile. `bytes_saved` counts
    parameters and connections, and is negative where the sparse one has more. `reason` is empty
    where the sparse one was chosen.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    sparsity: float
    times: Times
    chosen: Literal["dense", "sparse"]
    bytes_saved: int
    reason: str = ""


@dataclass(frozen=True)
class Sparsified(Generic[Model]):
    """The new model, and why each of its layers is what it is.

    `skipped` says of every other layer with a weight that could be sparse why it was not measured.
    `whole` are the times of a step of the whole model, dense and with the chosen layers; None by
    `criterion="memory"`, where all stays dense, and where the model needs its hooks to run.
    `notes` are sentences on the whole: that nothing was measured, and what times were disturbed.
    """

    model: Model
    decisions: tuple[Decision, ...]
    skipped: dict[str, str]
    whole: Times | None = None
    notes: tuple[str, ...] = ()

    @property
    def bytes_saved(self) -> int:
        """Bytes of parameters and connections that the chosen layers save."""
        return sum(d.bytes_saved for d in self.decisions if d.chosen == "sparse")

    @property
    def reasons(self) -> dict[str, str]:
        """Why layers are dense, by their paths: those that were measured, and those that were not.

        Among them what sparsity a layer has, and from which on it could pay here.
        """
        measured = {d.path: d.reason for d in self.decisions if d.chosen == "dense"}
        return measured | {path: f"not measured: {why}" for path, why in self.skipped.items()}

    def table(self) -> str:
        """Return a table of the layers that were measured, then why others are dense, and notes.

        Its columns: layer, shape, sparsity, dense and sparse time, their ratio with its 95%
        interval, choice, bytes saved. "!" marks times that were disturbed.
        """
        lines = _table(self.decisions) if self.decisions else []
        if self.whole is not None:
            dense, sparse = (_milliseconds(t) for t in (self.whole.first, self.whole.second))
            lines.append(
                f"The whole model: dense {dense} ms, sparse {sparse} ms, "
                f"sparse / dense {ratio(self.whole)}."
            )
        lines += [f"{_name(path)} stays dense: {why}" for path, why in self.reasons.items()]
        return "\n".join([*lines, *self.notes])


def ratio(times: Times) -> str:
    """Return how long the sparse one takes relative to the dense one, with the interval."""
    high = "∞" if times.high == float("inf") else f"{times.high:.2f}"
    return f"{times.ratio:.2f} ({times.low:.2f}–{high})" + "!" * times.disturbed


def why_dense(times: Times, sparsity: float) -> str:
    """Say why a layer that is not surely faster stays dense, and from what sparsity it could pay.

    What a call takes beside its connections stays: its time hardly falls faster than they do, so
    that below that sparsity it is not expected to pay.
    """
    surely = "slower" if times.low > 1.0 else "not surely faster"
    said = f"{surely}: it takes {ratio(times)} of the dense time at {sparsity:.1%} zeros"
    if times.disturbed:
        return said + DISTURBED
    if times.ratio <= 1.0:
        return said
    least = 1.0 - (1.0 - sparsity) / times.ratio
    if least >= _HARDLY:
        return f"{said}; so small a layer hardly pays at any"
    return f"{said}; it could pay from {least:.1%} on, hardly before"


def why_larger(sparse: SparseLayer, more: int) -> str:
    """Say why a layer that takes `more` bytes than a dense one stays dense, and when it would not.

    Each connection that goes takes its number and its index along.
    """
    each = sparse.weights.element_size() + sparse.connectivity.dtype.itemsize
    least = sparse.sparsity + (more // each + 1) * (1.0 - sparse.sparsity) / sparse.weights.numel()
    return (
        f"not smaller: it takes {more:,} bytes more at {sparse.sparsity:.1%} zeros, and fewer from "
        f"{min(least, 1.0):.1%} on"
    )


def notes(
    decisions: tuple[Decision, ...], whole: Times | None, few: dict[str, float], threshold: float
) -> tuple[str, ...]:
    """Return the sentences that a result needs to be understood.

    `few` are the layers that have fewer zeros than the `threshold`, with their shares.
    """
    said = []
    if not decisions:
        said.append("No layer was measured: the model is as it was.")
    if few and not decisions:
        most = max(few, key=lambda path: few[path])
        said.append(
            f"Layers are measured from {share(threshold)} zeros on; of those below, {_name(most)} "
            f"has most, {few[most]:.1%}: prune the model first, or lower threshold."
        )
    taken = {"the whole model": whole} if whole is not None else {}
    taken |= {_name(d.path): d.times for d in decisions}
    why = {
        "had to wait for a core in most of their samples": [
            name for name, times in taken.items() if times.spoiled > SPOILED
        ],
        f"scatter by more than {SCATTER:.0%}, as where other programs take the cores": [
            name for name, times in taken.items() if times.spoiled <= SPOILED and times.disturbed
        ],
    }
    if told := [f"those of {_listed(bad)} {how}" for how, bad in why.items() if bad]:
        said.append(
            f"Times were disturbed and may mislead: {'; '.join(told)}. Sparsify again when the "
            "machine is quieter."
        )
    return tuple(said)


def _listed(names: list[str]) -> str:
    """Name the first few: the table marks all of them."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} others"


def share(threshold: float) -> str:
    """Return a share as percent, without zeros at its end."""
    return f"{100 * threshold:.4g}%"


def _table(decisions: tuple[Decision, ...]) -> list[str]:
    head = (
        *("layer", "shape", "sparsity", "dense ms", "sparse ms"),
        *("sparse / dense", "chosen", "bytes saved"),
    )
    rows = [
        (
            _name(d.path),
            "×".join(map(str, d.shape)),
            f"{d.sparsity:.1%}",
            _milliseconds(d.times.first),
            _milliseconds(d.times.second),
            ratio(d.times),
            d.chosen,
            f"{d.bytes_saved:,}",
        )
        for d in decisions
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 1, 5, 6) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def _name(path: str) -> str:
    return path or "(the model)"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"
