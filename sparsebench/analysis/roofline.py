"""How fast a machine could be at best, from the probe in its fingerprint.

A phase can be no faster than its operations at the peak of the arithmetic units, and no faster
than its bytes at the bandwidth of the memory that holds them (Williams, Waterman, Patterson:
Roofline, 2009). Both counts are those of `arithmetic`: what the sparse mathematics needs. Work
that an implementation adds, zeros it multiplies included, counts against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsebench.cases import arithmetic
from sparsebench.cases.case import Case


@dataclass(frozen=True)
class Roof:
    """FLOP/s of a matmul, and bytes/s of a stream by the bytes it goes through, ascending."""

    flops: float
    streams: tuple[tuple[float, float], ...]

    def bandwidth(self, footprint: float) -> float:
        """Return the most bytes/s of the streams measured that `footprint` bytes fit into.

        A layer that stays in a cache from call to call is fed by that cache.
        """
        return max(rate for size, rate in self.streams if size >= footprint)

    def seconds(self, case: Case) -> float:
        """Return the least time that one call of the case's phase can take."""
        bandwidth = self.bandwidth(arithmetic.footprint(case))
        return max(arithmetic.flops(case) / self.flops, arithmetic.traffic(case) / bandwidth)


def roof(machine: Mapping[str, Any]) -> Roof | None:
    """Return the roof that was probed for the device, type and threads of a record's case."""
    probe = machine.get("roofline", {})
    if "matmul_gflops" not in probe or "stream_gb_s" not in probe:
        return None
    caches = [(float(size), 1e9 * float(rate)) for size, rate in probe.get("cache_gb_s", ())]
    streams = (*sorted(caches), (float("inf"), 1e9 * float(probe["stream_gb_s"])))
    return Roof(1e9 * float(probe["matmul_gflops"]), streams)
