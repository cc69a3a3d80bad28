"""Compares the outcomes of a case's events with its expectations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.inprocess.cases import ENVELOPE, Case, Step
from streams.inprocess.features_of import Features, Outcome, features_of, time_ms
from streams.inprocess.kernel import Kernel


@dataclass(frozen=True)
class Difference:
    """A value that differs from the expected one."""

    name: str
    expected: str
    actual: str


@dataclass(frozen=True)
class FailedEvent:
    """The differences of one event. ``number`` is its position in the case, from 1."""

    number: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class CaseVerdict:
    """The result of a case: the outcome of each event, the number of compared values, and the events that differ."""

    case: Case
    outcomes: tuple[Outcome, ...]
    compared: int
    failed_events: tuple[FailedEvent, ...]

    @property
    def passed(self) -> bool:
        """Whether all values are as expected."""
        return not self.failed_events


def run_case(case: Case, kernel: Kernel | None = None) -> CaseVerdict:
    """Send the case's events through the pipeline and judge the outcomes."""
    return judge(case, features_of(case.pipeline, case.events, kernel=kernel))


def judge(case: Case, outcomes: Sequence[Outcome]) -> CaseVerdict:
    """The verdict on the outcomes of a case's events.

    An event without an expectation must be emitted. An unexpected refusal or duplicate is a mistake in the event, with
    which the test would check less than it claims.
    """
    failed_events, compared = [], 0
    for number, (step, outcome) in enumerate(zip(case.steps, outcomes, strict=True), 1):
        pairs = _pairs(step, outcome)
        compared += len(pairs)
        differences = tuple(
            Difference(name, _text(expected), _text(actual))
            for name, expected, actual in pairs
            if not matches(expected, actual, case.tolerance)
        )
        if differences:
            failed_events.append(FailedEvent(number, differences))
    return CaseVerdict(case, tuple(outcomes), compared, tuple(failed_events))


def matches(expected: Any, actual: Any, tolerance: float) -> bool:
    """Whether a value matches the expected one, which may be ``{"approx": x, "within": y}``.

    Integers, texts, flags and null must be equal. Where one of two numbers has a fraction they may differ by
    ``tolerance`` times the greater magnitude. Lists and objects must agree in each part.
    """
    if isinstance(expected, Mapping) and expected.keys() == {"approx", "within"}:
        return _is_number(actual) and abs(actual - expected["approx"]) <= expected["within"]
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return expected.keys() == actual.keys() and all(
            matches(expected[name], actual[name], tolerance) for name in expected
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(
            matches(w, g, tolerance) for w, g in zip(expected, actual, strict=True)
        )
    if _is_number(expected) and _is_number(actual):
        if isinstance(expected, int) and isinstance(actual, int):
            return expected == actual
        return bool(expected == actual) or abs(expected - actual) <= tolerance * max(abs(expected), abs(actual))
    return type(expected) is type(actual) and bool(expected == actual)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pairs(step: Step, outcome: Outcome) -> list[tuple[str, Any, Any]]:
    """The values to compare for an event: name, expected, actual."""
    result, expected_result = _actual_result(outcome), _expected_result(step, outcome)
    if result != expected_result or step.expect is None:
        actual = result if outcome.message is None or result == expected_result else f"{result}: {outcome.message}"
        pairs = [("event", _PlainText(expected_result), _PlainText(actual))]
        if result == expected_result and step.message is not None and step.message not in (outcome.message or ""):
            pairs.append(("message", _PlainText(f"... {step.message} ..."), _PlainText(outcome.message or "")))
        return pairs
    return [pair for view, expected in step.expect.items() for pair in _view_pairs(view, expected, outcome)]


class _PlainText(str):
    """A text that is printed without quotes."""

    __slots__ = ()


def _actual_result(outcome: Outcome) -> str:
    results = {"duplicate": outcome.duplicate, "ignored": outcome.ignored, "updates": outcome.updates}
    results["reference data"] = outcome.reference
    return next((result for result, is_so in results.items() if is_so), outcome.refused or "emitted")


def _expected_result(step: Step, outcome: Outcome) -> str:
    if step.duplicate or step.ignored:
        return "duplicate" if step.duplicate else "ignored"
    # An event of a source that is not the trigger gives no record: then "updates" is the normal result.
    if step.lookup is not None:
        return step.reason or "reference data"
    return step.reason or ("updates" if outcome.updates and step.expect is None else "emitted")


def _view_pairs(view: str, expected: Mapping[str, Any] | None, outcome: Outcome) -> list[tuple[str, Any, Any]]:
    actual = {"values": outcome.columns} if view == "event" else _as_mapping(outcome.views[view])
    if expected is None or actual is None:
        shown = None if actual is None else _PlainText("a vector")
        return [(view, None if expected is None else _PlainText("a vector"), shown)]
    return [
        (
            f"{view}.{name}",
            time_ms(value) if name == "as_of" and isinstance(value, str) else value,
            actual[name] if name in actual and name in ENVELOPE else actual["values"][name],
        )
        for name, value in expected.items()
    ]


def _as_mapping(features: Features | None) -> dict[str, Any] | None:
    return None if features is None else {name: getattr(features, name) for name in (*ENVELOPE, "values")}


def _text(value: Any) -> str:
    if isinstance(value, _PlainText):
        return str(value)
    if isinstance(value, Mapping) and value.keys() == {"approx", "within"}:
        return f"{value['approx']} ± {value['within']}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
