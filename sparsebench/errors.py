"""The errors that the command line turns into one message and an exit code."""

from __future__ import annotations

CANNOT_WRITE = FAILED = 1  # FAILED: of one of several processes that train together
WRONG_INPUT, FOUND_WHAT_FAILS = 2, 4
CANNOT_BUILD = NO_CLUSTER = 3


class InputError(ValueError):
    """What the user gave cannot be used: says where, the value, and what is allowed (exit 2)."""


class StoreError(RuntimeError):
    """Records cannot be written: says which file and why (exit 1)."""


class ClusterError(RuntimeError):
    """The cluster cannot be used, or no longer: says which, why, and how to go on (exit 3)."""
