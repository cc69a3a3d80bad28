"""The summary of a benchmark run, its goals, and the page that is written from it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.bench.engine.benchmark_page import page, plot
from tests.bench.engine.findings import Findings, Goal, goals, summary
from tests.bench.engine.measure import Rate
from tests.bench.engine.sizes import quick

SIZE = quick()


def _rate(events_per_s: float, state_bytes: int | None = None) -> Rate:
    return Rate(events_per_s, 1, state_bytes, 40, {})


FINDINGS = Findings(
    rounds={"one entity": [{"penstock": 120_000.0, "bytewax": 10_000.0, "bare_forward": 150_000.0}]},
    rows=[{(row.group, row.value): _rate(100_000.0, 4_000_000) for row in SIZE.rows}],
    latency={1_000: {"p50": 7.0, "p99": 30.0}},
    floor={1_000: {"p50": 2.0, "p99": 9.0}},
    state={"one entity": 14_000.0},
    cpu={"one entity": [{"penstock": {"engine": 4.0, "broker": 2.0}}]},
    profile={"task_thread": {"windows": 0.4, "decoding": 0.2}},
    failures={"faust, round 1": "it ended"},
    load=[0.5, 2.0],
)


def test_the_ratios_are_those_of_the_first_workload() -> None:
    assert summary(FINDINGS, SIZE, quick=True, date="2026-01-01")["ratios"] == {"bytewax": 12.0, "bare_forward": 0.8}


def test_the_goal_for_python_is_compared_with_the_fastest_python_peer() -> None:
    found = goals({"ratios": {"bytewax": 12.0, "faust": 40.0, "flink_sql_over": 2.0}, "growth": {}})
    assert found == {"python": Goal(12.0, 10.0), "flink_sql_over": Goal(2.0, 3.0)}
    assert [goal.is_met for goal in found.values()] == [True, False]


def test_the_goal_of_a_cost_is_a_maximum() -> None:
    found = goals({"ratios": {}, "growth": {"keys": {"zipf": {"cost": 1.2}}}})
    assert found["keys:zipf"].is_met


def test_the_cost_of_a_row_is_relative_to_the_first_row_of_its_group() -> None:
    rows = [{("keys", "uniform"): _rate(100.0), ("keys", "zipf"): _rate(80.0)}]
    growth = summary(Findings(rows=rows), SIZE, quick=True, date="")["growth"]
    assert growth["keys"]["zipf"]["cost"] == 1.25


def test_a_row_has_no_cost_if_the_first_row_of_its_group_is_missing() -> None:
    found = summary(Findings(rows=[{("keys", "zipf"): _rate(80.0)}]), SIZE, quick=True, date="")
    assert found["growth"]["keys"]["zipf"]["cost"] is None
    assert not goals(found)
    assert "| 80 | 12500.00 |  |  |" in page(found)


def test_the_page_lists_results_and_what_was_not_measured() -> None:
    text = page(summary(FINDINGS, SIZE, quick=True, date="2026-01-01"))
    assert "| the fastest Python peer | 12.00 x | ≥ 10 x |" in text
    assert "| Bytewax | 10,000 | 10,000 to 10,000 | 12 |  |  |" in text
    assert "| Penstock | 120,000 | 120,000 to 120,000 |  | 4.00 µs | 2.00 µs |" in text
    assert "- faust, round 1: it ended" in text
    assert "of that thread's time:\nwindows 40%, decoding 20%" in text


def test_the_plot_is_well_formed_and_has_both_colour_schemes() -> None:
    text = plot(summary(FINDINGS, SIZE, quick=True, date="2026-01-01"))
    assert len([e for e in ET.fromstring(text).iter() if "bar" in e.get("class", "")]) == 3
    assert "prefers-color-scheme: dark" in text
