"""Round: what one turn of a case contributed to its record, and how it was disturbed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict


@dataclass(frozen=True, kw_only=True)
class Round:
    """A turn in a process of its own. Its samples follow those of the round before in the record.

    `cpu`, `waited` and `switches` have a number for each sample, where the system tells: the CPU
    time of all threads over the time that passed, the share of that time that its threads stood
    ready without a core, summed, and how often one had to leave its core.
    """

    # Read as part of a record. A model would take twice as long, of each of several rounds.
    __pydantic_config__ = ConfigDict(extra="forbid")

    started: str = ""  # ISO 8601, UTC
    samples: int = 0
    hot_samples: int = 0
    wall_samples: int = 0
    calls_per_sample: int = 0
    retaken: int = 0  # which try it was: 0 is the first, in its place among the rivals'
    disturbed: str = ""  # why it decides nothing; "" where nothing speaks against it
    # Which of its samples are disturbed, counted from 0.
    spoiled: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)
    # Load, pressure, steal, clock, governor, the calibration loop.
    conditions: dict[str, Any] = field(default_factory=dict)
