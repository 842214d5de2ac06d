"""Why no record of a layer has a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sparsebench.records import Record


def failures(found: Iterable[Record], **asked: Any) -> tuple[str, bool]:
    """Say how often which status came of the cases whose fields are `asked`, and the first message.

    "" where none failed; and whether all did.
    """
    records = [
        r for r in found if all(getattr(r.case, name) == value for name, value in asked.items())
    ]
    failed = [record for record in records if record.status != "ok"]
    if not failed:
        return "", False
    counts = Counter(record.status for record in failed)
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
    first = failed[0]
    message = " ".join(first.message.split())
    return f"{statuses} ({first.case.implementation}: {message})", len(failed) == len(records)
