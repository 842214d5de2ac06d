"""Settings: how cases are measured."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How cases are measured: `sample_s` seconds in each of `rounds`, stopped after `timeout_s`.

    With a `precision` there are more rounds, MOST_ROUNDS at most, until the interval of every
    speed-up is as narrow as that: 0.05 for 5% on each side. Cases that other work disturbed are
    taken again for at most a share `retake` of the time that all took before.
    """

    rounds: int = 3
    sample_s: float = 0.1
    timeout_s: float = 120.0
    seed: int = 0
    precision: float | None = None
    retake: float = 0.5
