"""Counts, curve and changes are those of a naive reference, whatever the order of what is read."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.label_status.reading import EventColumns, LabelColumns
from backfill.label_status.status import Declared, LabelStatus, label_status
from scoring.label_maturity import ANY_AGE, Maturity
from scoring.rollout.label_table import ROW

ALL = (0, 2**63 - 1)
HOUR = 3_600_000


class Said(NamedTuple):
    event: int
    time: int
    value: float | None
    source: int = 0


def label_columns(labels: list[Said], seed: int, topic: str = "") -> LabelColumns:
    order = np.random.default_rng(seed).permutation(len(labels))
    rows = np.zeros(len(labels), ROW)
    for place, (row, said) in enumerate(zip(rows, labels, strict=True)):
        row["event"], row["time"], row["offset"] = said.event, said.time, place
        row["value"] = np.nan if said.value is None else said.value
    return LabelColumns(rows[order], (), max((said.time for said in labels), default=None), 2, topic)


def columns(
    events: dict[int, tuple[int, bool]], labels: list[Said], seed: int = 0
) -> tuple[EventColumns, list[LabelColumns]]:
    ids, times, hidden = ([*column] for column in zip(*((one, *events[one]) for one in events), strict=True))
    found = EventColumns.of(np.array(ids, np.uint64), np.array(times, np.int64), np.array(hidden))
    sources = range(1 + max((said.source for said in labels), default=0))
    return found, [label_columns([said for said in labels if said.source == one], seed, f"{one}") for one in sources]


def status(
    events: dict[int, tuple[int, bool]], labels: list[Said], maturity: Maturity = ANY_AGE, **options: Any
) -> LabelStatus:
    given_ = {"range_ms": ALL, "period_ms": 10, "declared": Declared("binary", maturity)} | options
    return label_status(*columns(events, labels, options.pop("seed", 0)), **given_)


WORLDS = st.tuples(
    st.dictionaries(st.integers(0, 8), st.tuples(st.integers(0, 20), st.booleans()), min_size=1),
    st.lists(
        st.builds(Said, st.integers(0, 10), st.integers(0, 40), st.sampled_from([0.0, 1.0, None]), st.integers(0, 1)),
        max_size=40,
    ),
)


@settings(max_examples=150, deadline=None)
@given(world=WORLDS, horizon=st.sampled_from([None, 5, 12]), begin=st.integers(0, 10), seed=st.integers(0, 5))
def test_what_is_counted_is_what_a_naive_reference_counts(
    world: tuple[dict[int, tuple[int, bool]], list[Said]], horizon: int | None, begin: int, seed: int
) -> None:
    events, labels = world
    given_, of_labels = columns(events, labels, seed)
    found = label_status(given_, of_labels, Declared("binary", Maturity(horizon)), (begin, 18), 10)
    reached = max((said.time for said in labels), default=-1)
    counts = dict.fromkeys(("events", "waiting", "labelled", "withdrawn", "unlabelled", "hidden"), 0)
    of = dict.fromkeys(("corrections", "withdrawals", "repeats", "late", "early"), 0)
    classes = {"negative": 0, "positive": 0}
    old, first_ages = 0, []
    by_source = {"0": np.zeros(3, int), "1": np.zeros(3, int)}
    for event, (time, is_hidden) in events.items():
        if not begin <= time < 18:
            continue
        counts["events"] += 1
        label, ages, counted, values = None, list[int](), list[Any](), list[float | None]()
        for source in range(2):
            in_order = sorted(
                (said.time, place, said.value)
                for place, said in enumerate(labels)
                if said.event == event and said.source == source
            )
            before: float | None = None
            for known, _, value in in_order:
                of["withdrawals"] += value is None
                if value is not None and before is not None:
                    of["corrections" if value != before else "repeats"] += 1
                of["late"] += horizon is not None and known > time + horizon
                of["early"] += known < time
                before = value
            in_time = [(known, value) for known, _, value in in_order if horizon is None or known <= time + horizon]
            values.append(in_time[-1][1] if in_time else None)
            counted += in_time
            if values[-1] is not None:
                label = values[-1] if label is None else label
                ages += [max(known - time, 0) for known, value in in_time if value is not None][:1]
        if horizon is not None and time + horizon > reached:
            counts["waiting"] += 1
            continue
        old += 1
        if label is not None:
            counts["labelled"] += 1
            classes["positive" if label else "negative"] += 1
            first_ages.append(min(ages))
            first, second = values
            by_source["0"] += [first is not None, False, False]
            by_source["1"] += [first is None, None not in values, None not in values and first != second]
        else:
            counts["withdrawn" if counted else "unlabelled"] += 1
            counts["hidden"] += is_hidden
    assert {name: getattr(found.events, name) for name in counts} == counts
    assert {name: getattr(found.labels, name) for name in of} == of
    assert found.labels.without_event == sum(said.event not in events for said in labels)
    for one in found.sources:
        assert [one.events, one.overruled, one.differs] == by_source[one.topic].tolist()
        assert one.read == sum(said.source == int(one.topic) for said in labels)
    assert dict(found.classes) == {name: number for name, number in classes.items() if number}
    if horizon is not None:
        assert (found.old_ms, found.old) == (horizon, old)
        assert bool(found.arrival) is bool(first_ages)
        for one in found.arrival:
            assert one.labelled == round(sum(age <= one.age_ms for age in first_ages) / old, 6)


def test_the_curve_is_of_events_that_are_old_enough_and_has_each_class() -> None:
    events = {n: (n * HOUR, False) for n in range(100)}
    said = [Said(n, n * HOUR + (2 * HOUR if n % 10 == 0 else 60_000), float(n % 10 == 0)) for n in range(90)]
    found = status(events, said, Maturity(24 * HOUR))
    assert (found.old, found.arrival[-1].age_ms) == (66, 24 * HOUR)  # the last label is of hour 89
    by_age = {one.age_ms: one for one in found.arrival}
    assert by_age[60_000].labelled == round(59 / 66, 6)
    assert by_age[60_000].classes == {"negative": 1.0, "positive": 0.0}
    assert by_age[3 * HOUR].classes == {"negative": 1.0, "positive": 1.0}


def test_without_a_horizon_events_are_old_when_nearly_all_labels_had_come() -> None:
    events = {n: (n, False) for n in range(1_000)}
    said = [Said(n, n + (500 if n == 7 else n % 10), 1.0) for n in range(900)]
    found = status(events, said)
    assert (found.old_ms, found.events.waiting, found.events.unlabelled) == (9, 0, 100)
    assert found.arrival[-1].labelled == round(899 / 900, 6)


def test_several_classes_have_their_names_and_a_regression_one_value() -> None:
    events, labels = columns({1: (0, False), 2: (1, False)}, [Said(1, 5, 1.0), Said(2, 6, 1.0)])
    several = label_status(
        events, [labels[0]._replace(classes=("a", "b"))], Declared("multiclass", ANY_AGE, "b"), ALL, 10
    )
    assert several.classes == {"b": 2}
    assert {change.what for change in several.changes} >= {"positive"}
    value = label_status(events, labels, Declared("regression", ANY_AGE), ALL, 10)
    assert value.classes == {"value": 2}
    assert {*value.arrival[0].classes} == {"value"}


class Drifting:
    """Labels of one event a second in 20,000; in the last quarter of the events, something is different."""

    n, period = 20_000, 4_000

    def __init__(self, rate: float = 0.5, delay: float = 100, positive: float = 0.3) -> None:
        rng = np.random.default_rng(5)
        is_last = np.arange(self.n) >= 15_000
        comes = rng.random(self.n) < np.where(is_last, rate, 0.5)
        ages = rng.uniform(0, np.where(is_last, delay, 100)).astype(int)
        is_positive = rng.random(self.n) < np.where(is_last, positive, 0.3)
        self.labels = [Said(n, n + int(ages[n]), float(is_positive[n])) for n in np.flatnonzero(comes).tolist()]

    def verdicts(self, absent: Literal["excluded", "negative"] = "excluded") -> dict[str, str]:
        events = {n: (n, False) for n in range(self.n)}
        found = status(events, self.labels, Maturity(1_000, absent), period_ms=self.period)
        return {change.what: change.verdict for change in found.changes}


@pytest.mark.parametrize(
    ("world", "changed"),
    [
        (Drifting(), set()),
        (Drifting(rate=0.2), {"labelled", "early"}),
        (Drifting(delay=300), {"in time", "early"}),
        (Drifting(positive=0.6), {"positive"}),
    ],
    ids=["nothing", "rate", "delay", "base rate"],
)
def test_what_has_changed_is_named_and_nothing_else(world: Drifting, changed: set[str]) -> None:
    verdicts = world.verdicts()
    assert {what for what, verdict in verdicts.items() if verdict == "changed"} == changed
    assert {verdict for what, verdict in verdicts.items() if what not in changed} == {"same"}


def test_of_labels_of_one_class_no_base_rate_is_compared() -> None:
    assert {*Drifting().verdicts("negative")} == {"labelled", "in time", "early"}


def test_few_events_are_unsure_and_none_too() -> None:
    few = {n: (n, False) for n in range(40)}
    found = status(few, [Said(n, n + 1, 1.0) for n in range(0, 40, 2)], Maturity(5), period_ms=15)
    assert {change.verdict for change in found.changes if change.what == "labelled"} == {"unsure"}
    assert status(few, []).changes == ()
    assert status(few, []).old_ms is None
