"""Settings: how cases are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How cases are measured: `sample_s` seconds in each of `rounds`, stopped after `timeout_s`.

    Those that other work disturbed are taken again for at most a share `retake` of the time that
    all took before.
    """

    rounds: int = 2
    sample_s: float = 0.1
    timeout_s: float = 120.0
    seed: int = 0
    retake: float = 0.5
