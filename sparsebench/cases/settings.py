"""Settings: how cases are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How cases are measured: `sample_s` seconds in each of `rounds`, stopped after `timeout_s`."""

    rounds: int = 2
    sample_s: float = 0.1
    timeout_s: float = 120.0
    seed: int = 0
