"""Compares the outcomes of a case's events with what the case expects. Pure rules: no kernel, no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.inprocess.cases import ENVELOPE, Case, Step
from streams.inprocess.features_of import Features, Outcome, features_of, time_ms
from streams.inprocess.kernel import Kernel


@dataclass(frozen=True)
class Difference:
    """A value that is not what was expected."""

    name: str
    expected: str
    actual: str


@dataclass(frozen=True)
class Missed:
    """What differs for one event, which is the ``number``-th of its case."""

    number: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class CaseVerdict:
    """The result of a case: the events' outcomes, how many values were compared, and the events that differ."""

    case: Case
    outcomes: tuple[Outcome, ...]
    compared: int
    missed: tuple[Missed, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.missed


def run_case(case: Case, kernel: Kernel | None = None) -> CaseVerdict:
    """Send the case's events through the pipeline and judge the outcomes."""
    return judge(case, features_of(case.pipeline, case.events, kernel=kernel))


def judge(case: Case, outcomes: Sequence[Outcome]) -> CaseVerdict:
    """The verdict on the outcomes of a case's events.

    An event without an expectation must be emitted: an unexpected refusal or duplicate is a mistake in the event, and
    would otherwise leave a test that tests less than it says.
    """
    missed, compared = [], 0
    for number, (step, outcome) in enumerate(zip(case.steps, outcomes, strict=True), 1):
        pairs = _pairs(step, outcome)
        compared += len(pairs)
        differences = tuple(
            Difference(name, _words(wanted), _words(got))
            for name, wanted, got in pairs
            if not same(wanted, got, case.tolerance)
        )
        if differences:
            missed.append(Missed(number, differences))
    return CaseVerdict(case, tuple(outcomes), compared, tuple(missed))


def same(wanted: Any, got: Any, tolerance: float) -> bool:
    """Whether a value is the expected one, which may be ``{"approx": x, "within": y}``.

    Integers, texts, flags and null must be equal. Where one of two numbers has a fraction they may differ by
    ``tolerance`` times the greater magnitude. Lists and objects must agree in each part.
    """
    if isinstance(wanted, Mapping) and wanted.keys() == {"approx", "within"}:
        return _is_number(got) and abs(got - wanted["approx"]) <= wanted["within"]
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        return wanted.keys() == got.keys() and all(same(wanted[name], got[name], tolerance) for name in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(same(w, g, tolerance) for w, g in zip(wanted, got, strict=True))
    if _is_number(wanted) and _is_number(got):
        if isinstance(wanted, int) and isinstance(got, int):
            return wanted == got
        return bool(wanted == got) or abs(wanted - got) <= tolerance * max(abs(wanted), abs(got))
    return type(wanted) is type(got) and bool(wanted == got)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pairs(step: Step, outcome: Outcome) -> list[tuple[str, Any, Any]]:
    """What is compared for an event: name, expected and actual value."""
    fate, expected_fate = _fate(outcome), _expected_fate(step, outcome)
    if fate != expected_fate or step.expect is None:
        got = fate if outcome.message is None or fate == expected_fate else f"{fate}: {outcome.message}"
        pairs = [("event", _Word(expected_fate), _Word(got))]
        if fate == expected_fate and step.message is not None and step.message not in (outcome.message or ""):
            pairs.append(("message", _Word(f"... {step.message} ..."), _Word(outcome.message or "")))
        return pairs
    return [pair for view, wanted in step.expect.items() for pair in _view_pairs(view, wanted, outcome)]


class _Word(str):
    """Text that is not a value; shown without quotes."""

    __slots__ = ()


def _fate(outcome: Outcome) -> str:
    fates = {"duplicate": outcome.duplicate, "ignored": outcome.ignored, "updates": outcome.updates}
    return next((fate for fate, is_so in fates.items() if is_so), outcome.refused or "emitted")


def _expected_fate(step: Step, outcome: Outcome) -> str:
    if step.duplicate or step.ignored:
        return "duplicate" if step.duplicate else "ignored"
    # Of an event that gives no record there is nothing more to expect.
    return step.reason or ("updates" if outcome.updates and step.expect is None else "emitted")


def _view_pairs(view: str, wanted: Mapping[str, Any] | None, outcome: Outcome) -> list[tuple[str, Any, Any]]:
    got = {"values": outcome.columns} if view == "event" else _as_mapping(outcome.views[view])
    if wanted is None or got is None:
        shown = None if got is None else _Word("a vector")
        return [(view, None if wanted is None else _Word("a vector"), shown)]
    return [
        (
            f"{view}.{name}",
            time_ms(value) if name == "as_of" and isinstance(value, str) else value,
            got[name] if name in got and name in ENVELOPE else got["values"][name],
        )
        for name, value in wanted.items()
    ]


def _as_mapping(features: Features | None) -> dict[str, Any] | None:
    return None if features is None else {name: getattr(features, name) for name in (*ENVELOPE, "values")}


def _words(value: Any) -> str:
    if isinstance(value, _Word):
        return str(value)
    if isinstance(value, Mapping) and value.keys() == {"approx", "within"}:
        return f"{value['approx']} ± {value['within']}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
