"""What a label says depends on the task, and a value that is none of the task is told from one that is missing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scoring.label_values import truth_of
from streams.definitions.labels import Task


@pytest.mark.parametrize(
    ("task", "raw", "expected"),
    [
        ("binary", 1, (True, None)),
        ("binary", 0.0, (False, None)),
        ("binary", 0.5, (None, "is neither 0 nor 1")),
        ("multiclass", 3, ("3", None)),
        ("regression", -2.5, (-2.5, None)),
        ("regression", math.inf, (None, "is no finite number")),
        ("binary", None, (None, None)),
    ],
)
def test_what_a_label_says_depends_on_the_task(task: Task, raw: Any, expected: tuple[Any, str | None]) -> None:
    assert truth_of(raw, task) == expected
