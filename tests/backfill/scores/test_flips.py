"""Which decisions a policy flips: counted event by event, the naive way, and the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backfill.scores.flips import MOST_GROUPS, Decided, FlipReport, Tally, TruthOf, flips
from scoring.gates.gates import Limits
from scoring.gates.statistics import mean_interval

DECIDED = Decided("block", "pass")
COSTS = Limits(false_positive_cost=2.0, false_negative_cost=7.0)
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("ms", tz="UTC")),
        ("decision", pa.string()),
        ("served.decision", pa.string()),
        ("explored", pa.bool_()),
        ("served.explored", pa.bool_()),
        ("defaulted", pa.bool_()),
        ("arm", pa.string()),
        ("group.event.country", pa.string()),
        ("amount", pa.float64()),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "decision": st.sampled_from(["block", "pass", None]),
            "served.decision": st.sampled_from(["block", "pass", None, "review"]),
            "explored": st.integers(0, 9).map(lambda n: n == 0),
            "served.explored": st.integers(0, 9).map(lambda n: n == 0),
            "defaulted": st.booleans(),
            "arm": st.sampled_from(["a", "b"]),
            "group.event.country": st.sampled_from(["DE", "FR", None]),
            "amount": st.sampled_from([1.0, 2.5, None]),
            "truth": st.sampled_from([True, False, None]),
        }
    ),
    max_size=60,
)


def table(rows: list[dict[str, Any]], first: int = 0) -> pa.Table:
    numbered = [
        {"event_id": str(first + number), "event_time": first + number, **row} for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(numbered, SCHEMA)


def row(before: str | None, after: str | None, **changes: Any) -> dict[str, Any]:
    found = {"decision": after, "served.decision": before, "explored": False, "served.explored": False}
    return found | {"defaulted": False, "arm": "a", "group.event.country": "DE", "amount": 1.0} | changes


def truths_of(rows: list[dict[str, Any]]) -> TruthOf:
    return lambda event_ids, _times, _served: [rows[int(one)]["truth"] for one in event_ids]


def cost_of(decision: str, truth: bool, amount: float) -> float:
    if decision == "block":
        return 0.0 if truth else COSTS.false_positive_cost * amount
    return COSTS.false_negative_cost * amount if truth else 0.0


def naive(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Event by event."""
    counts: Counter[str] = Counter()
    costs = []
    for one in rows:
        before, after, truth = one["served.decision"], one["decision"], one["truth"]
        if before not in ("block", "pass") or after is None or one["explored"] or one["served.explored"]:
            continue
        counts["compared"] += 1
        flip = "" if before == after else "to_positive" if after == "block" else "to_negative"
        counts[flip] += 1
        if truth is None:
            continue
        counts["labelled"] += 1
        if flip:
            counts[f"labelled_{flip}"] += 1
            kinds = {("to_positive", True): "caught", ("to_positive", False): "blocked"}
            counts[kinds.get((flip, truth), "let_through" if truth else "freed")] += 1
        amount = one["amount"] or 0.0
        costs.append(cost_of(after, truth, amount) - cost_of(before, truth, amount))
    del counts[""]
    return dict(counts) | {"cost": sum(costs), "costs": costs}


NAMES = ("compared", "to_positive", "to_negative", "labelled", "labelled_to_positive", "labelled_to_negative")


def assert_is(tally: Tally, expected: dict[str, Any]) -> None:
    for name in (*NAMES, "caught", "blocked", "let_through", "freed"):
        assert getattr(tally, name) == expected.get(name, 0), name
    assert tally.cost == pytest.approx(expected["cost"])
    found, by_all = tally.cost_per_event(0.1), mean_interval(np.array(expected["costs"]), 0.1)
    assert found == pytest.approx(by_all, nan_ok=True)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(rows=ROWS, cut=st.integers(0, 60))
def test_flips_and_costs_are_those_that_are_counted_event_by_event(rows: list[dict[str, Any]], cut: int) -> None:
    tables = [table(rows[:cut]), table(rows[cut:], len(rows[:cut]))]
    report = flips(tables, DECIDED, truths_of(rows), COSTS)
    assert_is(report.all, naive(rows))
    for column, name in (("arm", "arm"), ("group.event.country", "event.country")):
        for value in {one[column] for one in rows}:
            expected = naive([one for one in rows if one[column] == value])
            found = report.by[name].get("no value" if value is None else value, Tally())
            assert_is(found, expected)
    forced = [one for one in rows if one["explored"] or one["served.explored"]]
    both = [one for one in forced if one["decision"] is not None and one["served.decision"] is not None]
    assert (report.events, report.forced) == (len(rows), len(both))
    assert report.forced_changed == sum(one["decision"] != one["served.decision"] for one in both)
    assert report.without_score == sum(one["decision"] is None for one in rows)
    kinds = report.without_score + report.not_served + report.other_decisions + report.forced + report.all.compared
    assert kinds == len(rows)


def test_an_explored_event_is_no_flip_though_its_decision_would_change() -> None:
    rows = [row("pass", "block", **{"served.explored": True}), row("block", "pass", explored=True), row("pass", "pass")]
    report = flips([table(rows)], DECIDED, lambda events, *_: [None if one == "2" else True for one in events], COSTS)
    assert (report.forced, report.forced_changed) == (2, 2)
    assert report.all == Tally(compared=1)


def test_amounts_are_summed_by_kind_and_weigh_the_costs() -> None:
    rows = [
        row("pass", "block", amount=10.0),
        row("pass", "block", amount=3.0),
        row("block", "pass", amount=5.0),
        row("block", "pass", amount=2.0),
        row("block", "pass", amount=100.0),  # without a label
    ]
    truth = {"0": True, "1": False, "2": True, "3": False}
    tally = flips([table(rows)], DECIDED, lambda events, *_: [truth.get(one) for one in events], COSTS).all
    assert tally.amounts == {"caught": 10.0, "blocked": 3.0, "let_through": 5.0, "freed": 2.0}
    assert tally.cost == 7 * (5 - 10) + 2 * (3 - 2)
    assert (tally.to_negative, tally.labelled_to_negative) == (3, 2)


@pytest.mark.parametrize(("flipped", "of"), [(0, 10), (3, 10), (10, 10), (1, 1)])
def test_the_share_has_the_interval_of_clopper_and_pearson(flipped: int, of: int) -> None:
    rows = [row("pass", "block")] * flipped + [row("pass", "pass")] * (of - flipped)
    exact = stats.binomtest(flipped, of).proportion_ci(0.95, "exact")
    found = flips([table(rows)], DECIDED, None, COSTS).all.share(0.05)
    assert found == pytest.approx((flipped / of, exact.low, exact.high))


def test_a_column_with_too_many_values_has_no_groups() -> None:
    rows = [row("pass", "block", **{"group.event.country": str(n)}) for n in range(MOST_GROUPS + 1)]
    report = flips([table(rows), table(rows)], DECIDED, None, COSTS)
    assert report.too_many == {"event.country": MOST_GROUPS + 1}
    assert set(report.by) == {"arm"}


def test_without_events_nothing_is_known() -> None:
    report = flips([], DECIDED, None, COSTS)
    assert report == FlipReport()
    assert np.isnan([*report.all.share(0.05), *report.all.cost_per_event(0.05)]).all()
