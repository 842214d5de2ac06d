"""Records made from formulas, so that tests know what tables and plots have to say."""

import itertools
import statistics
import zlib

import numpy as np

from sparsebench.cases.case import Case
from sparsebench.records import Memory, Record, Round

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
MACHINE = {"id": "0a1b", "cpu": {"model": "Anvil 9000"}}


def case(**changes):
    width = changes.pop("width", 1024)
    defaults = {
        "implementation": "ours",
        "in_features": width,
        "out_features": width,
        "sparsity": 0.9,
        "batch": 128,
        "phase": "train_step",
        "threads": 2,
    }
    return Case(**defaults | changes)


def record(seconds=None, *, noise=0.0, count=9, machine=MACHINE, memory=None, **changes):
    """A record whose time is `seconds`; the medians of its 9 rounds spread by ± `noise` around it.

    Every round takes one sample. Which round is slow differs from case to case.
    """
    of = case(
        **{k: v for k, v in changes.items() if k in Case.__dataclass_fields__ or k == "width"}
    )
    rest = {k: v for k, v in changes.items() if k not in Case.__dataclass_fields__ and k != "width"}
    spread = np.exp(noise * np.linspace(-1.0, 1.0, count))
    np.random.default_rng(zlib.crc32(of.key.encode())).shuffle(spread)
    samples = [] if seconds is None else list(seconds * spread)
    rest = {"status": "error" if seconds is None else "ok"} | rest
    return Record(
        case=of,
        samples=samples,
        rounds=[Round(samples=1)] * len(samples),
        calls_per_sample=1,
        machine=machine,
        memory=memory or Memory(),
        **rest,
    )


# Seconds per dense operation, and how much slower each implementation spends one of a weight.
SLOWNESS = {"ours": 2.0, "peer": 5.0, "coo": 40.0}


def seconds(implementation, width, sparsity, batch, phase, *, threads=2):
    """A dense layer takes width² · batch; a sparse one `SLOWNESS` times its density of that."""
    products = 1 if phase == "inference" else 3
    dense = products * width**2 * batch * 1e-11 * 2 / threads
    if implementation in ("dense", "masked"):
        return dense * (1.2 if implementation == "masked" else 1.0)
    return dense * SLOWNESS[implementation] * (1 - sparsity)


def memory(implementation, width, sparsity):
    weights = 4 * width**2
    if implementation not in ("dense", "masked"):
        weights = int(2 * weights * (1 - sparsity))
    return Memory(held=weights, inference_peak=width * 8, training_peak=weights + width * 16)


def sweep(
    *,
    widths=(512, 1024, 2048, 4096),
    batches=(1, 128),
    sparsities=SPARSITIES,
    phases=("inference", "forward_backward", "train_step"),
    implementations=("dense", "masked", "ours", "peer", "coo"),
    threads=(2,),
    **changes,
):
    """A whole sweep; the crossover of `ours` is at exactly 50%, of `peer` at 80%."""
    return [
        record(
            seconds(name, width, sparsity, batch, phase, threads=count),
            noise=0.05,
            implementation=name,
            width=width,
            sparsity=sparsity,
            batch=batch,
            phase=phase,
            threads=count,
            memory=memory(name, width, sparsity),
            **changes,
        )
        for width, batch, sparsity, phase, name, count in itertools.product(
            widths, batches, sparsities, phases, implementations, threads
        )
    ]


def never_disturbed(monkeypatch):
    """Let every round of every record count, whatever else this machine does."""

    def medians(record):
        return {n: statistics.median(part) for n, part in enumerate(record.by_round("samples"))}

    monkeypatch.setattr(Record, "medians", property(medians))
    monkeypatch.setattr(Record, "clean", property(lambda record: [*record.medians]))
