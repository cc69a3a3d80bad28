"""The labels of a topic: the same ones that training sets have."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from backfill.profiling.labels import TopicLabels
from scoring.label_maturity import ANY_AGE, Maturity
from scoring.training_set import LabelRow


def labels_of(maturity: Maturity, times: pa.DataType) -> list[Any]:
    """Of events labelled in time, too late, taken back, not at all; and of one that is too young."""
    given = [
        ("a", 10, True),
        ("b", 11, True),
        ("c", 0, True),
        ("c", 1, None),
        ("young", 3, True),
        ("newest", 12, False),
    ]
    rows = [LabelRow(event, at, (0, place), value) for place, (event, at, value) in enumerate(given)]
    batch = pa.record_batch(
        {"event_id": ["a", "b", "c", "d", "young"], "event_time": pa.array([0, 0, 0, 2, 3], pa.int64()).cast(times)}
    )
    return TopicLabels(rows, maturity).of(batch)


@pytest.mark.parametrize("times", [pa.int64(), pa.timestamp("ms", tz="UTC")])
@pytest.mark.parametrize(
    ("maturity", "expected"),
    [
        (ANY_AGE, [True, True, None, None, True]),
        (Maturity(10, None), [True, None, None, None, None]),
        (Maturity(10, "excluded"), [True, None, None, None, None]),
        (Maturity(10, "negative"), [True, False, False, False, None]),
    ],
)
def test_events_have_the_labels_that_a_training_set_gives_them(
    maturity: Maturity, expected: list[Any], times: pa.DataType
) -> None:
    assert labels_of(maturity, times) == expected


def test_without_any_label_no_event_is_old_enough() -> None:
    batch = pa.record_batch({"event_id": ["a"], "event_time": pa.array([0], pa.int64())})
    assert TopicLabels([], Maturity(10, "negative")).of(batch) == [None]
