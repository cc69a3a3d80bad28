"""Comparison of outcomes with expectations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streams.inprocess.cases import Case, Step
from streams.inprocess.features_of import Event, Features, Outcome
from streams.inprocess.report import failure_text
from streams.inprocess.verdicts import judge, matches
from tests.corpus.pipeline import pipeline

EMITTED = Outcome(columns={"x": 1.0}, views={"edges": Features("a", 2, 1000, False, {"count_10s": 3}), "other": None})


def verdict(outcome: Outcome, **step: Any) -> list[tuple[str, str, str]]:
    event = Event({"time": 1})
    case = Case(Path("f.json"), "c", pipeline, (Step(event={"time": 1}, **step),), (event,), 1e-9)
    found = judge(case, [outcome])
    assert found.passed == (not found.failed_events)
    return [(d.name, d.expected, d.actual) for failed_event in found.failed_events for d in failed_event.differences]


@pytest.mark.parametrize(
    ("wanted", "got", "agree"),
    [
        (1, 1, True),
        (1, 2, False),
        (1, 1.0, True),
        (2**53, 2**53 + 1, False),
        (0.3, 0.1 + 0.2, True),
        (0.3, 0.3001, False),
        (1e-300, 0.0, False),
        (0.0, -0.0, True),
        (1, True, False),
        (True, 1, False),
        (None, None, True),
        (None, 0, False),
        (0, None, False),
        ("1", 1, False),
        ("a", "a", True),
        ([1, 2.0], [1, 2.0 + 1e-12], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"approx": 3, "within": 0.5}, 3.5, True),
        ({"approx": 3, "within": 0.5}, 3.6, False),
        ({"approx": 3, "within": 0.5}, None, False),
    ],
)
def test_values_agree_by_type_and_within_the_tolerance(wanted: Any, got: Any, agree: bool) -> None:
    assert matches(wanted, got, 1e-9) is agree


def test_features_that_are_not_named_are_not_compared() -> None:
    assert verdict(EMITTED, expect={"edges": {"count_10s": 3, "seq": 2, "late": False}, "event": {"x": 1}}) == []
    assert verdict(EMITTED) == []


def test_a_difference_shows_both_values() -> None:
    assert verdict(EMITTED, expect={"edges": {"count_10s": 4, "late": True}}) == [
        ("edges.count_10s", "4", "3"),
        ("edges.late", "true", "false"),
    ]


def test_as_of_may_be_written_as_a_time() -> None:
    assert verdict(EMITTED, expect={"edges": {"as_of": "1970-01-01T00:00:01Z"}}) == []


def test_null_expects_a_skipped_view() -> None:
    assert verdict(EMITTED, expect={"other": None}) == []
    assert verdict(EMITTED, expect={"edges": None}) == [("edges", "null", "a vector")]
    assert verdict(EMITTED, expect={"other": {"count_10s": 1}}) == [("other", "a vector", "null")]


def test_an_unexpected_refusal_or_duplicate_is_a_failure() -> None:
    refused = Outcome(refused="penstock.InvalidField", message="x: no number")
    assert verdict(refused) == [("event", "emitted", "penstock.InvalidField: x: no number")]
    assert verdict(Outcome(duplicate=True), expect={"edges": {"seq": 1}}) == [("event", "emitted", "duplicate")]


def test_a_refusal_is_expected_by_its_reason_and_part_of_its_message() -> None:
    refused = Outcome(refused="penstock.InvalidField", message="x: no number")
    assert verdict(refused, refused="InvalidField", message="x") == []
    assert verdict(refused, refused="penstock.InvalidField") == []
    assert verdict(refused, refused="InvalidField", message="y") == [("message", "... y ...", "x: no number")]
    assert verdict(refused, duplicate=True) == [("event", "duplicate", "penstock.InvalidField: x: no number")]
    assert verdict(EMITTED, refused="Tombstone") == [("event", "penstock.Tombstone", "emitted")]


def test_a_failure_shows_the_event_and_the_values() -> None:
    event = Event({"time": 1, "s": "[bold]"})
    step = Step(event={"time": 1}, expect={"edges": {"count_10s": 4}})
    text = failure_text(judge(Case(Path("f.json"), "three", pipeline, (step,), (event,), 0), [EMITTED]))
    assert "✗ three" in text
    assert '{"time": 1, "s": "[bold]"}' in text
    assert text.splitlines()[-1].split() == ["edges.count_10s", "4", "3"]
