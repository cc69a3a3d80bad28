"""Which decisions a policy would have made otherwise than those that were served, for whom, and at what cost. Pure.

Compared are events whose decision followed from a score both times. Where an exploration slice has forced the served
decision, or would force the new one, neither model would be to praise or to blame: such events are counted apart.

Costs are those of :class:`scoring.gates.gates.Limits`, of one decision; with amounts, of one unit of the amount. They
are known only where the truth is, and a positive decision may itself keep a label from coming (a payment that is
declined gets no chargeback): so each direction of flips says how many of them have a label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from backfill.scores.rows import AMOUNT, GROUP
from schemas.columns import Mask, Numbers
from scoring.cascade import upper_bound
from scoring.gates.gates import Limits
from scoring.gates.statistics import Interval

TruthOf = Callable[[Sequence[str], Sequence[int], Sequence[str | None]], Sequence[bool | None]]
"""Of ids, times (epoch ms) and served decisions of events: which of them are positive, None if not known."""

MOST_GROUPS = 50
"""Of a column with more values, no group is reported: each needs enough events."""


@dataclass(frozen=True)
class Decided:
    """What positive and negative decisions are called."""

    positive: str
    negative: str


@dataclass
class Tally:
    """Counts of some compared events.

    ``labelled`` and the six after it are of events whose truth is known; ``cost`` is that of the new decisions less
    that of the served ones, and ``squares`` the sum of its squares.

    Args:
        compared: The events.
        to_positive: Those whose decision would have become positive.
        to_negative: Those whose decision would have become negative.
        labelled: Events.
        labelled_to_positive: Those whose decision would have become positive.
        labelled_to_negative: Those whose decision would have become negative.
        caught: Of ``labelled_to_positive``, those that are positive in truth.
        let_through: Of ``labelled_to_negative``, those that are positive in truth.
        amounts: Of each kind of flip the sum of the amounts: ``caught``, ``blocked``, ``let_through``, ``freed``.
        cost: The sum.
        squares: The sum.
    """

    compared: int = 0
    to_positive: int = 0
    to_negative: int = 0
    labelled: int = 0
    labelled_to_positive: int = 0
    labelled_to_negative: int = 0
    caught: int = 0
    let_through: int = 0
    amounts: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("caught", "blocked", "let_through", "freed"), 0.0)
    )
    cost: float = 0.0
    squares: float = 0.0

    @property
    def flipped(self) -> int:
        """Events with another decision."""
        return self.to_positive + self.to_negative

    @property
    def blocked(self) -> int:
        """Of ``labelled_to_positive``, those that are negative in truth."""
        return self.labelled_to_positive - self.caught

    @property
    def freed(self) -> int:
        """Of ``labelled_to_negative``, those that are negative in truth."""
        return self.labelled_to_negative - self.let_through

    def share(self, alpha: float) -> Interval:
        """The share of events with another decision, by Clopper and Pearson (1934); events count as independent."""
        if not self.compared:
            return Interval(math.nan, math.nan, math.nan)
        low = 1 - upper_bound(self.compared - self.flipped, self.compared, alpha / 2)
        return Interval(self.flipped / self.compared, low, upper_bound(self.flipped, self.compared, alpha / 2))

    def cost_per_event(self, alpha: float) -> Interval:
        """By how much an event would have cost more, by Student's t; below 0 it would have cost less."""
        n = self.labelled
        mean = self.cost / n if n else math.nan
        if n < 2:
            return Interval(mean, math.nan, math.nan)
        variance = max(self.squares - n * mean * mean, 0.0) / (n - 1)
        reach = float(stats.t.ppf(1 - alpha / 2, n - 1)) * math.sqrt(variance / n)
        return Interval(mean, mean - reach, mean + reach)


@dataclass
class FlipReport:
    """All that is found.

    Args:
        events: The rows.
        without_score: Those without a score, so without a decision.
        not_served: Those without a prediction to compare with.
        other_decisions: Those whose served decision is none that the pipeline has now.
        forced: Those whose decision an exploration slice has forced, or would force.
        forced_changed: Those of them whose decision would be another.
        defaulted: Those with declared defaults as inputs of other pipelines, unlike when they were served.
        all: The tally of all compared events.
        by: The tallies by arm and by group: ``arm`` or the column, then the value.
        too_many: Columns of groups that have too many values to report, and how many they have at least.
    """

    events: int = 0
    without_score: int = 0
    not_served: int = 0
    other_decisions: int = 0
    forced: int = 0
    forced_changed: int = 0
    defaulted: int = 0
    all: Tally = field(default_factory=Tally)
    by: dict[str, dict[str, Tally]] = field(default_factory=dict)
    too_many: dict[str, int] = field(default_factory=dict)


def flips(tables: Iterable[pa.Table], decided: Decided, truth_of: TruthOf | None, limits: Limits) -> FlipReport:
    """Compare.

    Args:
        tables: Rows of :mod:`backfill.scores.rows`, of a policy.
        decided: What decisions are called.
        truth_of: Says whether an event is positive in truth; None if there are no labels.
        limits: The costs.
    """
    report = FlipReport()
    for table in tables:
        _add(report, table, decided, truth_of, limits)
    return report


def _add(report: FlipReport, table: pa.Table, decided: Decided, truth_of: TruthOf | None, limits: Limits) -> None:
    before, after = (_texts(table, name) for name in ("served.decision", "decision"))
    has_score, was_served = after != None, before != None  # noqa: E711 - of each element
    explored = _flags(table, "explored") | _flags(table, "served.explored")
    both = has_score & was_served
    known = (before == decided.positive) | (before == decided.negative)
    forced = both & explored
    rows = both & ~explored & known
    report.events += table.num_rows
    report.without_score += int((~has_score).sum())
    report.not_served += int((has_score & ~was_served).sum())
    report.other_decisions += int((both & ~explored & ~known).sum())
    report.forced += int(forced.sum())
    report.forced_changed += int((forced & (before != after)).sum())
    report.defaulted += int(_flags(table, "defaulted").sum())
    truth = np.full(table.num_rows, np.nan)
    if truth_of is not None:
        times = table["event_time"].cast("int64").to_pylist()
        truth[:] = truth_of(table["event_id"].to_pylist(), times, before.tolist())
    amounts = None
    if AMOUNT in table.column_names:
        amounts = np.nan_to_num(table[AMOUNT].to_numpy(zero_copy_only=False).astype(np.float64))
    compared = _Compared(before == decided.positive, after == decided.positive, truth, amounts, limits)
    compared.count(report.all, rows)
    for name, column in _parts(table):
        if name in report.too_many:
            continue
        tallies = report.by.setdefault(name, {})
        values = _texts(table, column)
        for value in dict.fromkeys(values[rows].tolist()):
            tally = tallies.setdefault("no value" if value is None else value, Tally())
            compared.count(tally, rows & (values == value))
        if len(tallies) > MOST_GROUPS:
            report.too_many[name] = len(tallies)
            del report.by[name]


@dataclass(frozen=True)
class _Compared:
    """Rows with what was served and what would be."""

    was_positive: Mask
    is_positive: Mask
    truth: Numbers
    amounts: Numbers | None
    limits: Limits

    def count(self, tally: Tally, rows: Mask) -> None:
        """Add some of the rows to a tally."""
        was, now, truth = self.was_positive, self.is_positive, self.truth
        to_positive, to_negative = rows & ~was & now, rows & was & ~now
        labelled, positive = rows & ~np.isnan(truth), truth == 1
        kinds = {
            "caught": to_positive & positive,
            "blocked": to_positive & (truth == 0),
            "let_through": to_negative & positive,
            "freed": to_negative & (truth == 0),
        }
        tally.compared += int(rows.sum())
        tally.to_positive += int(to_positive.sum())
        tally.to_negative += int(to_negative.sum())
        tally.labelled += int(labelled.sum())
        tally.labelled_to_positive += int((to_positive & labelled).sum())
        tally.labelled_to_negative += int((to_negative & labelled).sum())
        tally.caught += int(kinds["caught"].sum())
        tally.let_through += int(kinds["let_through"].sum())
        each: Any = 1.0 if self.amounts is None else self.amounts
        of_positive, of_negative = self.limits.false_negative_cost * each, self.limits.false_positive_cost * each
        changes = of_positive * kinds["let_through"] - of_positive * kinds["caught"]
        changes = changes + of_negative * kinds["blocked"] - of_negative * kinds["freed"]
        tally.cost += float(changes.sum())
        tally.squares += float((changes * changes).sum())
        if self.amounts is not None:
            for kind, mask in kinds.items():
                tally.amounts[kind] += float(self.amounts[mask].sum())


def _parts(table: pa.Table) -> Iterator[tuple[str, str]]:
    """The columns by whose values rows are parted: what they are called in the report, and in the table."""
    yield "arm", "arm"
    for name in table.column_names:
        if name.startswith(GROUP):
            yield name.removeprefix(GROUP), name


def _texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    return np.array(table[name].to_pylist(), object)


def _flags(table: pa.Table, name: str) -> Mask:
    return np.array(table[name].fill_null(False).to_pylist(), np.bool_)
