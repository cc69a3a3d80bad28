"""A set that cannot validate a model is refused, with the reason, for each kind of label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.training_set import Counts, TrainingSet
from scoring.training_split import split


def labelled(y: np.ndarray, **task: Any) -> TrainingSet:
    n = len(y)
    times, ids = np.arange(n, dtype=np.int64), tuple(map(str, range(n)))
    X, places = np.zeros((n, 1), np.float32), np.zeros(n, np.int64)  # noqa: N806
    return replace(TrainingSet(("v.x",), ids, times, places, X, y, {}, None, Counts(), "hash"), **task)


def test_the_latest_fifth_of_the_values_is_held_back() -> None:
    earlier, later = split(labelled(np.arange(200.0), task="regression"))
    assert (earlier.sum(), later.sum()) == (160, 40)
    assert earlier[:160].all()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.arange(60.0), "later part of the set has 12 events with 12 values"),
        (np.ones(200), "earlier part of the set has 160 events with 1 value,"),
        (np.r_[np.arange(160.0), np.zeros(40)], "later part of the set has 40 events with 1 value,"),
    ],
)
def test_few_values_or_one_value_only_are_refused(values: np.ndarray, says: str) -> None:
    with pytest.raises(PenstockError, match=says):
        split(labelled(values, task="regression"))


@pytest.mark.parametrize("value", [1e300, -1e300])
def test_a_value_that_no_score_can_have_is_refused_with_its_event(value: float) -> None:
    values = np.arange(200.0)
    values[7] = value
    with pytest.raises(PenstockError, match=r"the label of event 7 is -?1e\+300, but scores are float32"):
        split(labelled(values, task="regression"))


CLASSES = {"task": "multiclass", "classes": ("cat", "dog", "eel")}


def test_events_of_several_classes_are_split_if_each_is_there_often_enough() -> None:
    y = np.tile(np.array([0, 1, 2], np.int16), 100)
    assert split(labelled(y, positive="dog", **CLASSES))[1].sum() == 60


def test_a_class_that_is_rare_in_the_earlier_part_is_named() -> None:
    y = np.tile(np.array([0, 1], np.int16), 150)
    y[:9] = 2
    with pytest.raises(PenstockError, match="earlier part of the set has 9 events of class 'eel', at least 10"):
        split(labelled(y, positive="dog", **CLASSES))


def test_a_positive_class_that_no_event_has_is_named_with_the_classes_that_there_are() -> None:
    y = np.tile(np.array([0, 1, 2], np.int16), 100)
    with pytest.raises(PenstockError, match=r"no label is 'fox', .*; the classes are 'cat', 'dog', 'eel'\n") as caught:
        split(labelled(y, positive="fox", **CLASSES))
    assert "correct Labels(positive=...)" in str(caught.value.next)
    assert "cat" not in caught.value.kept


def test_of_many_classes_ten_are_named() -> None:
    many = {**CLASSES, "classes": tuple(f"c{n:02}" for n in range(12))}
    with pytest.raises(PenstockError, match=r"'c00', .*, 'c09' and 2 others\n"):
        split(labelled(np.tile(np.arange(12, dtype=np.int16), 20), positive="fox", **many))


@pytest.mark.parametrize("rows", [0, 200])
def test_where_labels_were_refused_for_their_value_another_task_is_suggested(rows: int) -> None:
    with pytest.raises(PenstockError) as caught:
        split(labelled(np.zeros(rows, np.int8), values_refused=7))
    assert str(caught.value.next).startswith('7 labels left out, as neither 0 nor 1: declare Labels(task="regression")')
