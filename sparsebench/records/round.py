"""Round: what one turn of a case contributed to its record, and how it was disturbed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Round(BaseModel):
    """A turn in a process of its own. Its samples follow those of the round before in the record.

    `cpu`, `waited` and `switches` have a number for each sample, where the system tells: the CPU
    time of all threads over the time that passed, the share of that time that its threads stood
    ready without a core, summed, and how often one had to leave its core.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: str = ""  # ISO 8601, UTC
    samples: int = 0
    hot_samples: int = 0
    wall_samples: int = 0
    calls_per_sample: int = 0
    retaken: int = 0  # which try it was: 0 is the first, in its place among the rivals'
    disturbed: str = ""  # why it decides nothing; "" where nothing speaks against it
    spoiled: list[int] = []  # which of its samples are disturbed, counted from 0
    cpu: list[float] = []
    waited: list[float] = []
    switches: list[int] = []
    conditions: dict[str, Any] = {}  # load, pressure, steal, clock, governor, the calibration loop
