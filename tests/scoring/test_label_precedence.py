"""Of several sources of labels, the first that says something counts, whatever comes first."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.label_precedence import counting
from scoring.quality.events import Event, KnownLabel
from scoring.rollout.collecting import event_hashes
from scoring.rollout.label_table import ROW, LabelTable, of_source
from scoring.training_set import LabelRow, label_of
from tests.scoring.quality.quality_worlds import scored

HORIZON = 8


class Said(NamedTuple):
    """A label on the topic of a source, where its place is its offset."""

    source: int
    known_at: int
    received: int
    offset: int
    value: bool | None

    @property
    def rank(self) -> tuple[int, int, int]:
        return self.known_at, self.received, self.offset


def naive(labels: list[Said], sources: int, until: int) -> bool | None:
    """Source by source, as docs/guides/labels.md says."""
    for source in range(sources):
        said = [one for one in labels if one.source == source and one.known_at <= until]
        said.sort(key=lambda one: (one.known_at, one.received, one.offset))
        if said and said[-1].value is not None:
            return said[-1].value
    return None


labels = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 2), st.sampled_from([True, False, None])),
    max_size=14,
).map(lambda of: [Said(source, at, received, place, value) for place, (source, at, received, value) in enumerate(of)])


def by_table(given_: list[Said], cut: int, until: int) -> bool | None:
    """What a rollout's controller takes for the label; it is told of them in two parts."""
    (event,) = event_hashes(["e"])
    rows = np.zeros(len(given_), ROW)
    for row, one in zip(rows, given_, strict=True):
        row["event"] = of_source(np.array([event]), one.source)[0]
        row["time"], row["received"], row["offset"] = one.known_at, one.received, one.offset
        row["value"] = np.nan if one.value is None else one.value
    sample = np.array([event]), np.array([until])
    # There is no room but for what counts for the sample.
    table = LabelTable.empty(0, 3).add(rows[:cut]).within_room(*sample).add(rows[cut:]).within_room(*sample)
    assert len(table.rows) <= 3
    (value,) = table.of(*sample).tolist()
    return None if np.isnan(value) else bool(value)


def by_quality(given_: list[Said], cut: int, time: int) -> bool | None:
    """What the counting of quality takes for the label; it is saved and read again in between."""
    at = scored(0)
    event = Event("event-0")
    event.add_prediction(at)
    for place, one in enumerate(given_):
        if place == cut:
            event = Event.decode("event-0", event.encode())
        rank = at.event_time_ms - time + one.known_at, one.received, 0, one.offset
        event.add_label(KnownLabel("event-0", rank, one.value, one.source))
    return event.truth(HORIZON)


@settings(max_examples=150, deadline=None)
@given(given_=labels, time=st.integers(0, 6), cut=st.integers(0, 14), order=st.randoms(use_true_random=False))
def test_all_that_reads_labels_takes_the_one_that_counts_in_whatever_order_they_come(
    given_: list[Said], time: int, cut: int, order: Random
) -> None:
    order.shuffle(given_)
    expected = naive(given_, 3, time + HORIZON)
    rows = [LabelRow("e", one.known_at, (one.received, 0, one.offset), one.value, source=one.source) for one in given_]
    assert label_of(rows, time, HORIZON) == expected
    assert label_of(rows, time, None) == naive(given_, 3, 2**62)
    found = counting(given_)
    assert (None if found is None else found.value) == naive(given_, 3, 2**62)
    assert by_table(given_, cut, time + HORIZON) == expected
    assert by_quality(given_, cut, time) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([(1, 5, True)], True, id="the only one"),
        pytest.param([(0, 1, False), (1, 9, True)], False, id="the first source, though the other came later"),
        pytest.param([(1, 1, True), (0, 9, False)], False, id="the first source, though it came later"),
        pytest.param([(0, 1, False), (0, 2, True), (1, 9, False)], True, id="a correction of the first source"),
        pytest.param([(0, 1, False), (1, 2, True), (0, 3, None)], True, id="the first source has withdrawn its label"),
        pytest.param([(0, 1, None), (1, 2, True), (1, 3, None)], None, id="both have"),
        pytest.param([(0, 1, None), (1, 2, None), (2, 0, False)], False, id="the third source"),
    ],
)
def test_the_label_that_counts_is(said: list[tuple[int, int, bool | None]], expected: bool | None) -> None:
    for labels_ in (said, said[::-1]):
        found = counting(Said(source, at, at, 0, value) for source, at, value in labels_)
        assert (None if found is None else found.value) == expected
