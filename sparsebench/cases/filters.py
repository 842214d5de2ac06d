"""Conditions on the fields of a case: what `--filter` and a sweep's `exclude` are made of."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, get_args

from sparsebench.cases import names
from sparsebench.cases.case import Cache, Case, Gradients, Operation, Phase
from sparsebench.cases.weights import PREFIX
from sparsebench.errors import InputError

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
# Names for the features, and for both of them at once; a convolution's are channels.
_FEATURES = ("in_features", "out_features")
ALIASES = {
    "width": _FEATURES,
    "channels": _FEATURES,
    "in_channels": _FEATURES[:1],
    "out_channels": _FEATURES[1:],
}
_NUMBERS = {f.name for f in fields(Case) if f.type in ("int", "float")} | ALIASES.keys()
FIELDS = (*(f.name for f in fields(Case) if f.compare), *ALIASES)
_ALLOWED: dict[str, Callable[[], tuple[str, ...]]] = {
    "operation": lambda: get_args(Operation),
    "implementation": names.implementations,
    "phase": lambda: get_args(Phase),
    "gradients": lambda: get_args(Gradients),
    "cache": lambda: get_args(Cache),
    "topology": names.topologies,
}


@dataclass(frozen=True)
class Condition:
    """Holds for a case whose `field` compares with one of `values` as `comparison` says.

    `width` and `channels` stand for both in_features and out_features.
    """

    field: str
    comparison: str
    values: tuple[float | str, ...]

    def __call__(self, case: Case) -> bool:
        """Return whether it holds for `case`."""
        names = ALIASES.get(self.field, (self.field,))
        compare = _COMPARISONS[self.comparison]
        any_or_all = all if self.comparison == "!=" else any
        return all(any_or_all(compare(getattr(case, n), v) for v in self.values) for n in names)


def parse(text: str) -> Condition:
    """Read `field=value`, `field=value,value`, `field!=value` or `field<value` (also <= > >=).

    Raises InputError for an unknown field, a value that is none of the field's, and other text.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*", text)
    if match is None:
        raise InputError(f"{text!r} is no condition: write field=value, field=a,b or field>=value")
    field, comparison, values = match.groups()
    if field not in FIELDS:
        raise InputError(
            f"{text!r}: a case has no field {field!r}: choose from {', '.join(FIELDS)}"
        )
    if comparison not in ("=", "!=") and field not in _NUMBERS:
        raise InputError(f"{text!r}: {field} is no number: compare it with = or !=")
    return Condition(
        field, comparison, tuple(_value(field, v.strip(), text) for v in values.split(","))
    )


def _value(field: str, value: str, text: str) -> float | str:
    if field in _NUMBERS:
        try:
            return float(value)
        except ValueError:
            raise InputError(f"{text!r}: {field} is a number, got {value!r}") from None
    allowed = _ALLOWED[field]() if field in _ALLOWED else ()
    if field == "topology" and value.startswith(PREFIX):
        return value
    if allowed and value not in allowed:
        raise InputError(f"{text!r}: unknown {field} {value!r}: choose from {', '.join(allowed)}")
    return value
