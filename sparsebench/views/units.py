"""Numbers as people read them: three digits, the right prefix, a unit."""

from __future__ import annotations

import math

from sparsebench.analysis.crossover import ALWAYS, NEVER, Crossover
from sparsebench.analysis.estimates import LEAST_ROUNDS, Estimate

# What stands behind a value without an interval, and what it means.
UNKNOWN = "°"
UNKNOWN_MEANS = f"{UNKNOWN}: fewer than {LEAST_ROUNDS} processes, no interval"
CANNOT_TELL = "can't tell"

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}

# Of a time, or a ratio, in which a time is that other work disturbed.
DISTURBED = "!"
DISTURBED_MEANS = f"{DISTURBED}: disturbed by other work, decides nothing"


def doubtful(text: str, disturbed: object) -> str:
    """Return `text` with the mark DISTURBED where something is, before an interval."""
    value, bracket, ends = text.partition(" (")
    return f"{value}{DISTURBED}{bracket}{ends}" if disturbed else text


def quantity(value: float, unit: str, *, digits: int = 3) -> str:
    """Return `value` with `digits` significant digits and a prefix: 583 µs, 1.85 ms, 12.8 MB."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    # Rounded first: 999.6 µs is 1.00 ms, not 1000 µs.
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))) / 3) * 3
    exponent = min(max(exponent, -9), 12)
    return f"{significant(value / 10.0**exponent, digits)} {_PREFIXES[exponent]}{unit}"


def bounded(estimate: Estimate, unit: str) -> str:
    """Return a quantity with its interval: 583 µs (571–602 µs); marked where it has none."""
    value = quantity(estimate.value, unit)
    if not estimate.known:
        return value + UNKNOWN
    low, high = (quantity(end, unit) for end in (estimate.low, estimate.high))
    if low == high:
        return value
    same = low.split()[1] == high.split()[1]
    return f"{value} ({low.split()[0] if same else low}–{high})"


def significant(value: float, digits: int) -> str:
    """Return `value` with significant digits, never in exponent notation: 0.0420, 7.31, 1240."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    return f"{value:.{max(places, 0)}f}"


def ratio(value: float) -> str:
    """Return a ratio with two digits below 10: 0.83×, 4.1×, 12×."""
    if value < 1 and float(f"{value:.2f}") < 1:
        return f"{value:.2f}×" if value >= 0.01 else "<0.01×"
    return f"{value:.1f}×" if float(f"{value:.1f}") < 10 else f"{value:.0f}×"


def percent(fraction: float) -> str:
    """Return a fraction in percent with the digits it has: 50%, 99.9%."""
    return f"{100 * fraction:.4g}%"


def crossing(found: Crossover, *, ends: bool = True) -> str:
    """Return a crossover in words: "84% (82–86%)", "always (≥ 50%)", "never (98% to > 99%)".

    One whose interval spans the range is "can't tell (50–99%)"; one without an interval has the
    mark UNKNOWN. Without `ends`, without the interval: "84%".
    """
    if not found.told:
        span = f"{percent(found.lowest).removesuffix('%')}–{percent(found.highest)}"
        return f"{CANNOT_TELL} ({span})" if ends else CANNOT_TELL
    if not found.sparsity.known:
        return sparsity(found.sparsity.value) + UNKNOWN
    value, low, high = found.sparsity.value, found.sparsity.low, found.sparsity.high
    lowest, highest = percent(found.lowest), percent(found.highest)
    outside = {ALWAYS: f"< {lowest}", NEVER: f"> {highest}"}
    low_text, high_text = (outside.get(end, sparsity(end)) for end in (low, high))
    if not ends or low_text == high_text:
        certain = {ALWAYS: f"always (≥ {lowest})", NEVER: f"never (≤ {highest})"}
        return certain.get(value, sparsity(value))
    head = sparsity(value)
    if math.isfinite(low) and math.isfinite(high):
        return f"{head} ({low_text.removesuffix('%')}–{high_text})"
    return f"{head} ({low_text} to {high_text})"


def interval(estimate: Estimate) -> str:
    """Return a ratio with its interval, where that is wider than rounding: 4.1× (3.9–4.3).

    One without an interval has the mark UNKNOWN.
    """
    if not estimate.known:
        return ratio(estimate.value) + UNKNOWN
    low, high = (ratio(end) for end in (estimate.low, estimate.high))
    if low == high:
        return ratio(estimate.value)
    return f"{ratio(estimate.value)} ({low.removesuffix('×')}–{high.removesuffix('×')})"


def sparsity(fraction: float) -> str:
    """Return a crossover's sparsity in percent, with digits as the density needs: 87%, 98.7%."""
    if not math.isfinite(fraction):
        return "always" if fraction == ALWAYS else "never"
    places = max(0, -math.floor(math.log10(max(1.0 - fraction, 1e-6))) - 1)
    return f"{100 * fraction:.{places}f}%"
