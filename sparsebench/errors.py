"""The errors that the command line turns into one message and an exit code."""

from __future__ import annotations

CANNOT_WRITE = FAILED = 1  # FAILED: of one of several processes that train together
WRONG_INPUT, CANNOT_BUILD, FOUND_WHAT_FAILS = 2, 3, 4


class InputError(ValueError):
    """What the user gave cannot be used: says where, the value, and what is allowed (exit 2)."""


class StoreError(RuntimeError):
    """Records cannot be written: says which file and why (exit 1)."""
