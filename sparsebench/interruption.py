"""What Ctrl-C and an end of the session (SIGTERM) do: one exception, once."""

from __future__ import annotations

import signal


class Interrupted(BaseException):
    """A signal asks to stop: Ctrl-C, or an end of the session."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def raise_on_signals() -> None:
    """Have SIGINT and SIGTERM raise Interrupted in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows is cleaning up
    raise Interrupted(number)
