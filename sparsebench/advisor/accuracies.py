"""What structures cost in accuracy, from records of training: any machine's, where there are some.

Experiments whose names begin with "structures-" train the same network with every structure.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from sparsebench.cases.topologies.structured import UNSTRUCTURED

_FILE = "training.jsonl"
_EXPERIMENTS = "structures-"
_FAR = math.log(1.5)  # of densities: what was trained at others says nothing

# By dataset, how connections are rewired, structure and sparsity: in percent, of each seed.
Accuracies = Mapping[tuple[str, str, str, float], list[float]]


@dataclass(frozen=True)
class AccuracyCost:
    """By how many points a structure is below unstructured connections; negative where above.

    `sparsity` is that of the networks compared, `rewiring` "none" or the rule, `seeds` how many of
    the structure were trained.
    """

    dataset: str
    points: float
    sparsity: float
    rewiring: str
    seeds: int


class _Setting(BaseModel):
    experiment: str
    dataset: str
    model: str
    sparsity: float
    rewiring: str = "none"
    structure: str = UNSTRUCTURED
    images: int = 0


class _Epoch(BaseModel):
    accuracy: float


class _Line(BaseModel):
    setting: _Setting
    status: str = "ok"
    purpose: Literal["accuracy", "time"] = "accuracy"
    epochs: list[_Epoch] = []


def load(folders: Iterable[Path]) -> Accuracies:
    """Return the last accuracies of the runs recorded below `folders`.

    Those on a part of a dataset do not count, and lines that say something else are passed over.
    """
    found: dict[tuple[str, str, str, float], list[float]] = defaultdict(list)
    files = {path.resolve() for folder in folders for path in folder.rglob(_FILE)}
    for path in sorted(files):
        for text in path.read_text("utf-8").splitlines():
            if f'"{_EXPERIMENTS}' not in text:
                continue
            try:
                line = _Line.model_validate_json(text)
            except ValidationError:
                continue  # of another kind, or cut off by a crash
            of = line.setting
            whole = "-" not in of.dataset and not of.images
            if of.model == "sparse" and whole and line.status == "ok" and line.epochs:
                place = of.dataset, of.rewiring, of.structure, of.sparsity
                found[place].append(100 * line.epochs[-1].accuracy)
    return dict(found)


def costs(accuracies: Accuracies, structure: str, sparsity: float) -> list[AccuracyCost]:
    """Return what `structure` costs on each dataset at the nearest sparsity that was trained.

    Where connections were rewired and left alone, what they cost rewired.
    """
    known: dict[str, list[tuple[bool, float, AccuracyCost]]] = defaultdict(list)
    for (dataset, rewiring, name, level), values in accuracies.items():
        plain = accuracies.get((dataset, rewiring, UNSTRUCTURED, level))
        far = abs(math.log((1 - level) / (1 - sparsity)))
        if name == structure and plain and far <= _FAR:
            points = statistics.fmean(plain) - statistics.fmean(values)
            cost = AccuracyCost(dataset, points, level, rewiring, len(values))
            known[dataset].append((rewiring == "none", round(far, 9), cost))
    return [min(found, key=lambda each: each[:2])[2] for _, found in sorted(known.items())]
