"""What the histograms of a pipeline say, by version, arm, time and group: for people, and as JSON. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Literal, NamedTuple, TypeAlias

from penstock.time import iso
from scoring.gates.statistics import Interval, ratio_of_rates
from scoring.quality.events import HIDDEN
from scoring.quality.facts import QualityFacts
from scoring.quality.histograms import DAY_MS, Histogram, Key
from scoring.quality.measures import (
    ASSUMPTION,
    METHODS,
    Classes,
    auc_resolution,
    expect,
    measure,
    outcomes,
)
from scoring.quality.reading_clock import Reached

By: TypeAlias = Literal["version", "policy", "arm", "route", "hour", "day", "group"]
# With fewer events, a group of events is not compared: its rate would be chance.
_LEAST_IN_GROUP = 100
_ALPHA = 0.05


class Row(NamedTuple):
    """The quality of a part of the predictions.

    Attributes:
        of: Which part: the values of what was asked for.
        counts: How many predictions are of each outcome.
        measures: By name, each with its interval.
        expected: What was to be expected before labels came.
        auc_resolution: By how much the AUC may be off, because bins have a width.
    """

    of: Mapping[str, str]
    counts: Mapping[str, int]
    measures: Mapping[str, Interval]
    expected: Mapping[str, Interval]
    auc_resolution: float


class Fairness(NamedTuple):
    """A rate of a group's worst value divided by that of its best.

    Attributes:
        of: Which part: version and arm.
        group: The declared group.
        measure: ``decision_rate``, or ``recall``.
        lowest: The value with the lowest rate.
        highest: The value with the highest one.
        ratio: The lowest rate divided by the highest.
    """

    of: Mapping[str, str]
    group: str
    measure: str
    lowest: str
    highest: str
    ratio: Interval


@dataclass(frozen=True)
class QualityReport:
    """The quality of a pipeline.

    Attributes:
        rows: By part, in their order.
        fairness: Of each declared group.
        reached: How far everything had come.
        late: How many predictions came too late to count.
        unmatched: How many events had labels and no prediction.
    """

    rows: Sequence[Row]
    fairness: Sequence[Fairness]
    reached: Reached
    late: int
    unmatched: int

    def content(self) -> dict[str, Any]:
        """As JSON; a number that nobody knows is null."""
        return {
            "reached": self.reached.model_dump(),
            "late": self.late,
            "unmatched": self.unmatched,
            "intervals": {"level": 0.95, "methods": dict(METHODS)},
            "expected_if": ASSUMPTION,
            "rows": [
                {
                    "of": dict(row.of),
                    "counts": dict(row.counts),
                    "measures": {name: _content(interval) for name, interval in row.measures.items()},
                    "expected": {name: _content(interval) for name, interval in row.expected.items()},
                    "auc_resolution": _number(row.auc_resolution),
                }
                for row in self.rows
            ],
            "fairness": [{**one._asdict(), "of": dict(one.of), "ratio": _content(one.ratio)} for one in self.fairness],
        }


def report_of(
    histograms: Mapping[Key, Histogram],
    facts: QualityFacts,
    reached: Reached,
    *,
    by: Sequence[By] = ("version", "arm"),
    from_ms: int | None = None,
    to_ms: int | None = None,
    costs: tuple[float, float] = (1.0, 1.0),
    late: int = 0,
    unmatched: int = 0,
) -> QualityReport:
    """The report of all histograms whose hours, or days of groups, begin in [from_ms, to_ms).

    Args:
        histograms: All of the pipeline.
        facts: What they count.
        reached: How far everything had come.
        by: What to tell apart. ``group`` gives a row for each value of each group.
        from_ms: Epoch ms; None for all.
        to_ms: The same.
        costs: Of a positive decision on a negative event, and of a negative one on a positive event.
        late: How many predictions came too late.
        unmatched: How many events had labels and no prediction.
    """
    chosen = {
        key: histogram
        for key, histogram in histograms.items()
        if (from_ms is None or from_ms <= key.begin_ms) and (to_ms is None or key.begin_ms < to_ms)
    }
    parts: dict[tuple[str, ...], list[tuple[str, Histogram]]] = defaultdict(list)
    for key, histogram in chosen.items():
        if bool(key.group) == ("group" in by):
            parts[tuple(_named(key, name) for name in by)].append((key.stratum, histogram))
    rows = [_row(dict(zip(by, values, strict=True)), parts[values], facts, costs) for values in sorted(parts)]
    return QualityReport(rows, list(_fairness(chosen, facts)), reached, late, unmatched)


def _row(
    of: Mapping[str, str], part: list[tuple[str, Histogram]], facts: QualityFacts, costs: tuple[float, float]
) -> Row:
    first = facts.first_positive
    expected = expect((histogram for _, histogram in part), first)
    return Row(of, outcomes(part), measure(part, first, costs), expected, auc_resolution(part))


def _named(key: Key, name: By) -> str:
    if name == "group":
        return f"{key.group}={key.value}"
    if name in ("hour", "day"):
        return iso(key.begin_ms if name == "hour" else key.begin_ms // DAY_MS * DAY_MS)
    return str(getattr(key, name))


def _fairness(histograms: Mapping[Key, Histogram], facts: QualityFacts) -> Iterable[Fairness]:
    values: dict[tuple[str, str, str], dict[str, list[tuple[str, Histogram]]]] = {}
    for key, histogram in histograms.items():
        if key.group:
            of_group = values.setdefault((key.version, key.arm, key.group), {})
            of_group.setdefault(key.value, []).append((key.stratum, histogram))
    for (version, arm, group), of_value in sorted(values.items()):
        for name, rate_of in (("decision_rate", _decided), ("recall", _recalled)):
            rates = {value: rate_of(part, facts) for value, part in of_value.items()}
            rates = {value: rate for value, rate in rates.items() if rate[1] >= _LEAST_IN_GROUP}
            if len(rates) < 2:
                continue
            ordered = sorted(rates, key=lambda value: (rates[value][0] / rates[value][1], value))
            lowest, highest = ordered[0], ordered[-1]
            ratio = ratio_of_rates(*rates[lowest], *rates[highest], _ALPHA)
            yield Fairness({"version": version, "arm": arm}, group, name, lowest, highest, ratio)


def _decided(part: Iterable[tuple[str, Histogram]], _facts: QualityFacts) -> tuple[int, int]:
    cells = [cell for _, histogram in part for _, cell in histogram.of("scored")]
    return sum(cell.decided for cell in cells), sum(cell.n for cell in cells)


def _recalled(part: Iterable[tuple[str, Histogram]], facts: QualityFacts) -> tuple[int, int]:
    """Positive events at or above the threshold, of all positive ones, in effective numbers."""
    classes = Classes.of((stratum, histogram) for stratum, histogram in part if stratum != HIDDEN)
    positives = classes.weights[1]
    n = classes.effective[1]
    if not n:
        return 0, 0
    return round(n * positives[classes.bins >= facts.first_positive].sum() / positives.sum()), round(n)


def _content(interval: Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in interval._asdict().items()}


def _number(value: float) -> float | None:
    return None if isnan(value) else round(value, 6)
