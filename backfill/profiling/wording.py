"""Numbers, shares and times as a profile's page says them."""

from __future__ import annotations

import math

from backfill.profiling.bins import Number
from penstock.time import readable

_LONGEST = 40
_UNIT = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SHORT = ((10_000, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))
_TOO_LARGE = 1e15


def shown(value: Number | None) -> str:
    """A number to four digits; integers whole, and infinities as such.

    >>> [shown(one) for one in (None, 2**53 + 1, 12.3456, 1234567.8, 2.5e-9, float("-inf"), -0.0)]
    ['none', '9,007,199,254,740,993', '12.35', '1,234,568', '2.5e-09', '−∞', '0']
    """
    if value is None:
        return "none"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    plain = 1e-4 <= abs(value) < 1e12
    text = f"{value:,.0f}" if plain and abs(value) >= 1_000 else f"{value:.4g}"
    return f"−{text[1:]}" if text.startswith("-") else text


def brief(value: Number | None) -> str:
    """A number for a narrow place, to four digits.

    >>> [brief(one) for one in (None, 9_999, 12_345, 29_447_553.0, -1.5e12, 3.2e20, float("inf"), 0.25)]
    ['none', '9,999', '12.3k', '29.4M', '−1.5T', '3.2e+20', '∞', '0.25']
    """
    if value is None or not _SHORT[0][0] <= abs(value) < _TOO_LARGE:
        return shown(value) if value is None or abs(value) < _TOO_LARGE or math.isinf(value) else f"{value:.3g}"
    size, unit = max(one for one in _SHORT if abs(value) >= one[0])
    return shown(float(f"{value / min(size, _UNIT[unit]):.3g}")) + unit


def share(part: float) -> str:
    """A share in percent, never 0 % or 100 % for what is not.

    >>> [share(one) for one in (0.0, 0.00001, 0.012, 0.5, 0.99999, 1.0)]
    ['0 %', '< 0.1 %', '1.2 %', '50 %', '> 99.9 %', '100 %']
    """
    if part in (0, 1):
        return f"{part:.0%}".replace("%", " %")
    if part < 0.001:
        return "< 0.1 %"
    if part > 0.999:
        return "> 99.9 %"
    digits = 1 if part < 0.1 or part > 0.9 else 0
    return f"{100 * part:.{digits}f}".removesuffix(".0") + " %"


def moment(time_ms: int, span_ms: int) -> str:
    """A time in UTC, to the day if the span is long, else to the minute.

    >>> moment(1_772_366_400_850, 10**11), moment(1_772_366_400_850, 10**7)
    ('2026-03-01', '2026-03-01 12:00')
    """
    text = readable(time_ms, "minutes", zone="")
    return text.partition(" ")[0] if span_ms > 20 * 86_400_000 else text


def label(text: str) -> str:
    r"""A text value: one line, not too long, without characters that a page cannot have.

    >>> label("a" * 50), label("tab\there"), label("")
    ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…', 'tab\ufffdhere', '(empty)')
    """
    plain = "".join(one if one.isprintable() else "\ufffd" for one in text)
    return (plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…") or "(empty)"
