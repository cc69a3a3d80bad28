"""Sets of events whose labels are final: who is in, with which label, and when a set is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.label_maturity import Maturity, reached
from scoring.training_set import FeatureRow, LabelRow, TrainingSet, join


def joined(
    events: dict[str, int],
    labels: list[tuple[str, bool | None, int]],
    horizon_ms: int | None = 10,
    absent: Any = "excluded",
    until_ms: int | None = None,
) -> TrainingSet:
    """Events at times, and labels of them that became known at times."""
    rows = [
        FeatureRow(name, time, time, 0, (n,), np.zeros(1, np.float32)) for n, (name, time) in enumerate(events.items())
    ]
    given = [LabelRow(name, known, (n,), value) for n, (name, value, known) in enumerate(labels)]
    maturity = Maturity(horizon_ms, absent)
    return join(rows, given, inputs=("event.x",), views={}, until_ms=until_ms, maturity=maturity)


def test_an_event_is_in_the_set_from_the_moment_at_which_it_is_as_old_as_the_horizon() -> None:
    labels = [("old", True, 1), ("young", True, 2), ("late", True, 10)]
    found = joined({"old": 0, "young": 1, "late": 9}, labels)
    assert found.event_ids == ("old",)
    assert found.counts.events_immature == 2


@pytest.mark.parametrize(("known_at", "label"), [(10, [1]), (11, [])])
def test_a_label_counts_until_the_horizon_and_not_after_it(known_at: int, label: list[int]) -> None:
    found = joined({"a": 0}, [("a", True, known_at), ("other", True, 99)])
    assert found.y.tolist() == label
    assert found.counts.labels_after_horizon == 1 - len(label)


def test_a_correction_after_the_horizon_changes_nothing() -> None:
    assert joined({"a": 0}, [("a", False, 5), ("a", True, 11)]).y.tolist() == [0]


@pytest.mark.parametrize("labels", [[], [("a", True, 3), ("a", None, 4)], [("a", True, 11)]])
def test_a_mature_event_without_a_label_is_negative_if_that_is_declared(labels: list[Any]) -> None:
    found = joined({"a": 0}, [*labels, ("other", True, 99)], absent="negative")
    assert found.y.tolist() == [0]
    assert found.counts.events_absent == 1
    assert found.X.shape == (1, 1)


def test_a_mature_event_without_a_label_is_left_out_and_counted_if_that_is_declared() -> None:
    found = joined({"a": 0, "b": 1}, [("b", True, 99)])
    assert len(found) == 0
    assert found.counts.events_unlabelled == 2


def test_a_set_of_too_few_labels_is_refused_with_the_numbers_and_both_ways_out() -> None:
    events = {f"e{n}": n for n in range(100)}
    labels = [(f"e{n}", n % 2 == 0, n) for n in range(94)] + [("other", True, 200)]
    with pytest.raises(
        PenstockError, match=r"only 94\.0% of the mature events have a label, 94 of 100 events"
    ) as error:
        joined(events, labels, absent=None)
    assert 'Labels(absent="negative")' in str(error.value)
    assert 'Labels(absent="excluded")' in str(error.value)
    assert len(joined(events, [*labels, ("e94", True, 94)], absent=None)) == 95


def test_nobody_is_older_than_what_labels_have_reached() -> None:
    found = joined({"a": 0, "b": 50}, [("a", True, 5), ("b", True, 55)], until_ms=1_000)
    assert found.until_ms == 55
    assert found.event_ids == ("a",)


def test_a_label_from_the_future_makes_nobody_older() -> None:
    assert reached([(5, 7), (9_999, 8), (6, None)]) == 8
    assert reached([]) is None


@pytest.mark.parametrize("absent", ["negative", "excluded", None])
def test_without_any_label_no_event_is_old_enough_and_none_is_negative(absent: Any) -> None:
    with pytest.raises(PenstockError, match="no label has come"):
        joined({"a": 0}, [], absent=absent, until_ms=1_000)
    assert joined({"a": 0}, [], horizon_ms=None, absent=None).counts.events_unlabelled == 1


def test_without_a_horizon_any_label_counts_at_any_age() -> None:
    found = joined({"a": 0, "b": 99}, [("a", True, 50), ("b", False, 99)], horizon_ms=None, absent=None)
    assert found.y.tolist() == [1, 0]
    assert found.until_ms is None
