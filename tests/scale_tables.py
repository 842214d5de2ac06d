"""Tables on Scale of records that `sparsebench scale` does not show itself.

`rewiring`: what benchmarks/rewiring_cost.py wrote, next to the records. `beyond`: what more
connections than were measured would need, by the bytes and seconds of the layer with most of them.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sparsebench.scale.records import ScaleRecord
from sparsebench.scale.views import seconds
from sparsebench.views.tables import Table
from sparsebench.views.units import quantity
from sparselayers.connectivity import index_dtype

MACHINE = 24e9  # bytes of memory of a machine that the rows of a layer are spread over
INDICES = 3  # of a connection that is trained: its column, and two of the transpose


def of(folder: Path, records: list[ScaleRecord]) -> Iterator[Table]:
    """Yield what there is to show of a folder of records."""
    file = folder / "rewiring.jsonl"
    if file.exists():
        found = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        yield _table("rewiring", [_rewiring(each) for each in found])
    measured = [record for record in records if record.status == "ok"]
    if measured:
        largest = max(measured, key=lambda record: record.case.connections)
        yield _table("beyond", beyond(largest, (10**9, 10**10)))


def beyond(record: ScaleRecord, connections: tuple[int, ...]) -> list[dict[str, str]]:
    """Return a row of each thing that is needed, with what it is at so many connections."""
    rows: dict[str, dict[str, str]] = {}
    cost, here = record.costs, record.case.connections
    for count in connections:
        width = count // record.case.per_output
        index = index_dtype((width, width), count).itemsize
        wider = (index - 4) * count  # than at the connections that were measured
        each = count / here
        training = cost["training step"].peak * each + INDICES * wider
        rewired = cost["SET"].peak * each + INDICES * wider
        machines = [math.ceil(needed / MACHINE) for needed in (training, rewired)]
        told = {
            "file and arrays": quantity(record.arrays * each + wider, "B"),
            "training": quantity(training, "B"),
            "rewiring with SET, at its peak": quantity(rewired, "B"),
            "construction": _time(seconds(cost["construction"]) * each),
            "a training step at batch 16": _time(seconds(cost["training step"]) * each),
            "SET, once": _time(seconds(cost["SET"]) * each),
            "gradients that each of several processes gives, a step": quantity(4 * count, "B"),
            "machines of 24 GB, rows of the layer spread over them: training / with SET":
                " / ".join(map(str, machines)),
        }  # fmt: skip
        for name, text in told.items():
            rows.setdefault(name, {"": name})[_power(count)] = text
    return list(rows.values())


def _rewiring(found: dict) -> dict[str, str]:
    nnz = found["nnz"]
    return {
        "rule": found["rule"],
        "threads": str(found["threads"]),
        "a connection": quantity(statistics.median(found["wall"]) / nnz, "s"),
        "once": _time(statistics.median(found["wall"])),
        "peak, bytes a connection": f"{(found['held'] + found['rise']) / nnz:.1f}",
        "of it the rewiring alone": f"{found['rise'] / nnz:.1f}",
    }


def _table(name: str, rows: list[dict[str, str]]) -> Table:
    frame = pd.DataFrame(rows)
    return Table(name, name, frame, frame)


def _time(value: float) -> str:
    return f"{value / 60:.0f} min" if value >= 120 else quantity(value, "s")


def _power(count: int) -> str:
    return "10" + str(round(math.log10(count))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
