"""Where commands print: answers to the output, everything else to the errors."""

from __future__ import annotations

from rich.console import Console

console = Console()
errors = Console(stderr=True)
