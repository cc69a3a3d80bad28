"""The summary of a benchmark run, its goals, and the page that is written from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

from tests.bench.engine.benchmark_page import page, plot
from tests.bench.engine.findings import Findings, Goal, goals, summary
from tests.bench.engine.measure import Rate
from tests.bench.engine.sizes import full, quick

SIZE = replace(full(), rows=quick().rows)


def _rate(events_per_s: float, state_bytes: int | None = None) -> Rate:
    return Rate(events_per_s, 1, state_bytes, 40, {})


FINDINGS = Findings(
    rounds={"one entity": [{"penstock": 120_000.0, "bytewax": 10_000.0, "bare_forward": 150_000.0}]},
    rows=[{(row.group, row.value): _rate(100_000.0, 4_000_000) for row in SIZE.rows}],
    latency={1_000: {"p50": 7.0, "p99": 30.0}},
    floor={1_000: {"p50": 2.0, "p99": 9.0}},
    state={"one entity": 14_000.0},
    cpu={"one entity": [{"penstock": {"engine": 4.0, "broker": 2.0}, "bytewax": {"engine": 20.0, "broker": 1.0}}]},
    profile={"task_thread": {"windows": 0.4, "decoding": 0.2}},
    failures={"faust, round 1": "it ended"},
    load=[0.5, 2.0],
)


def _found(quick_form: bool = False, **changed: object) -> dict[str, Any]:
    return summary(replace(FINDINGS, **changed), SIZE, quick=quick_form, date="2026-01-01")  # type: ignore[arg-type]


def test_a_ratio_is_the_median_of_the_rounds_with_the_least_and_the_greatest() -> None:
    rounds = [{"penstock": mine, "bytewax": 10.0} for mine in (120.0, 80.0, 90.0)]
    assert _found(rounds={"one": rounds})["works"]["one"]["ratios"] == {"bytewax": [9.0, 8.0, 12.0]}


def test_the_goal_for_python_is_compared_with_the_best_python_peer() -> None:
    ratios = {"bytewax": [12.0, 11.0, 13.0], "faust": [40.0, 39.0, 41.0], "flink_sql_over": [2.0, 1.0, 3.0]}
    found = goals({"works": {"one": {"ratios": ratios, "cpu_ratios": {}}}, "growth": {}})
    assert found == {"python": Goal(12.0, 11.0, 13.0, 8.0), "flink_sql_over": Goal(2.0, 1.0, 3.0, 3.0)}
    assert [goal.is_met for goal in found.values()] == [True, False]


def test_cpu_has_goals_of_its_own_and_that_against_bare_forwarding_is_a_maximum() -> None:
    cpu = [{"penstock": {"engine": 4.0}, "bytewax": {"engine": 20.0}, "bare_forward": {"engine": 2.0}}]
    found = goals(_found(cpu={"one entity": cpu}))
    assert found["cpu:python"] == Goal(5.0, 5.0, 5.0, 6.0)
    assert found["cpu:bare_forward"] == Goal(2.0, 2.0, 2.0, 1.6, is_cost=True)
    assert not found["cpu:bare_forward"].is_met


def test_the_quick_form_has_no_ratios_costs_or_goals() -> None:
    found = _found(quick_form=True)
    assert not goals(found)
    assert found["works"]["one entity"]["ratios"] == found["works"]["one entity"]["cpu_ratios"] == {}
    assert found["growth"]["keys"]["zipf"]["cost"] is None
    assert "A quick run has no ratios" in page(found)


def test_the_goal_of_a_cost_is_a_maximum() -> None:
    found = goals({"works": {}, "growth": {"keys": {"zipf": {"cost": 1.2, "cost_span": [1.1, 1.3]}}}})
    assert found["keys:zipf"].is_met


def test_the_cost_of_a_row_is_relative_to_the_first_row_of_its_group() -> None:
    rows = [{("keys", "uniform"): _rate(100.0), ("keys", "zipf"): _rate(zipf)} for zipf in (80.0, 50.0, 100.0)]
    zipf = _found(rows=rows)["growth"]["keys"]["zipf"]
    assert (zipf["cost"], zipf["cost_span"]) == (1.25, [1.0, 2.0])
    assert "| 1.25 (1.00 to 2.00) |" in page(_found(rows=rows))


def test_a_row_has_no_cost_if_the_first_row_of_its_group_is_missing() -> None:
    found = summary(Findings(rows=[{("keys", "zipf"): _rate(80.0)}]), SIZE, quick=False, date="")
    assert found["growth"]["keys"]["zipf"]["cost"] is None
    assert not goals(found)
    assert "| 80 | 12500.00 |  |  |" in page(found)


def test_the_page_lists_results_and_what_was_not_measured() -> None:
    text = page(_found())
    assert "| the fastest Python peer | 12.00 x | 12.00 to 12.00 | ≥ 8 x |" in text
    assert "| Bytewax | 10,000 | 10,000 to 10,000 | 12 | 20.00 µs | 20.00 to 20.00 | 5.00 | 1.00 µs |" in text
    assert "| Penstock | 120,000 | 120,000 to 120,000 |  | 4.00 µs | 4.00 to 4.00 |  | 2.00 µs |" in text
    assert "- faust, round 1: it ended" in text
    assert "of that thread's time:\nwindows 40%, decoding 20%" in text


def test_the_plot_is_well_formed_and_has_both_colour_schemes() -> None:
    text = plot(_found())
    assert len([e for e in ET.fromstring(text).iter() if "bar" in e.get("class", "")]) == 3
    assert "prefers-color-scheme: dark" in text
