"""What differs between a version and the same made again is named: data, files, fields, and what made it otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from scoring.rebuilding import (
    Difference,
    data_differences,
    definition_changes,
    file_differences,
    making_changes,
    manifest_differences,
    source_changes,
)
from scoring.recipe import DataRecipe, Recipe, TopicRead
from tests.scoring.gates.test_card import IMPORTED, TRAINED

TOPIC = TopicRead(offsets={0: (0, 5)}, records=5, sha256="a")
DATA = DataRecipe(
    data_hash="d",
    events=3,
    columns={"events": "e", "event.amount": "x", "label": "y"},
    from_ms=0,
    to_ms=9,
    views=("spend",),
    max_ahead_ms=1,
    offsets={"events.payments": {0: (0, 9)}},
    topics={"labels.fraud": TOPIC},
)
RECIPE = Recipe(
    definition={"events": "1", "labels": "2"},
    seed=7,
    parameters={"learning_rate": 0.08},
    data=DATA,
    code="c",
    machine={"libc": "glibc 2.36"},
)
MADE = TRAINED.model_copy(update={"recipe": RECIPE})


def topic(**changes: Any) -> dict[str, Any]:
    return {"topics": {"labels.fraud": TOPIC.model_copy(update=changes)}}


def columns(**changes: str) -> dict[str, Any]:
    return {"columns": {**DATA.columns, **changes}}


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        (topic(records=4), "topic labels.fraud", "retention, compaction or an erasure deleted some"),
        (topic(records=6), "topic labels.fraud", "some were added"),
        (topic(sha256="b"), "topic labels.fraud", "but not with the same content: the topic was written anew"),
        (columns(events="other") | {"events": 2}, "training set", "other events: 3 events then, 2 events now"),
        (columns(events="other", label="other"), "training set", "other events: 3 events, but not the same"),
        (columns(label="other"), "training set", "the labels: other values"),
        ({"columns": {**DATA.columns, "event.amount": "other"}}, "training set", "input event.amount: other values"),
    ],
)
def test_data_that_differ_are_named(changes: dict[str, Any], where: str, what: str) -> None:
    (found,) = data_differences(DATA, DATA.model_copy(update=changes))
    assert found.where == where
    assert found.what.endswith(what)


def test_data_of_another_range_and_run_that_are_the_same_do_not_differ() -> None:
    other = DATA.model_copy(update={"from_ms": -5, "max_ahead_ms": 9, "offsets": {"events.payments": {0: (1, 12)}}})
    assert data_differences(DATA, other) == []


def test_files_are_compared_by_name_except_those_that_are_not_the_models() -> None:
    own = {"model.py": b"1", "environment.txt": b"1", "hashes.json": b"1", "manifest.json": b"1"}
    found = file_differences({"a": b"1", "b": b"1", "c": b"1", **own}, {"a": b"1", "b": b"2", "d": b"1"})
    assert [one.where for one in found] == ["b", "c", "d"]
    assert [one.what for one in found][1:] == ["not made this time", "the version has no such file"]


def test_a_manifest_differs_by_its_fields_without_the_values_of_texts() -> None:
    other = MADE.model_copy(update={"rows": 999, "views": {"spend": "2:" + "a" * 40}, "provenance": None})
    assert manifest_differences(MADE, other) == [
        Difference("manifest.json", "rows: 1000 then, 999 now"),
        Difference("manifest.json", "views.spend: 1:abc then, another now"),
    ]


def test_another_backfill_with_the_same_set_is_a_change_and_no_difference() -> None:
    other = MADE.model_copy(update={"read": {"features_read": 700}})
    assert manifest_differences(MADE, other) == []
    assert source_changes(MADE, other) == [("manifest.json", "read.features_read: None then, 700 now")]


def test_an_imported_file_may_have_another_name() -> None:
    assert manifest_differences(IMPORTED, IMPORTED.model_copy(update={"file": "moved.onnx"})) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parameters": {"learning_rate": 0.1}}, ("parameter learning_rate", "0.08 then, 0.1 now")),
        ({"code": "other"}, ("Penstock", "another source than that of then")),
        ({"machine": {"libc": "musl 1"}}, ("machine libc", "glibc 2.36 then, musl 1 now")),
        ({"trainer": "x"}, ("training function", "its source, or that of a module beside it, has changed")),
    ],
)
def test_what_makes_it_otherwise_now_is_named(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    again = MADE.model_copy(update={"recipe": RECIPE.model_copy(update=changes)})
    assert making_changes(MADE, again, "", "") == [expected]


def test_packages_are_named_once_those_of_the_manifest_first_and_the_rest_are_counted() -> None:
    again = MADE.model_copy(update={"libraries": {"onnx": "1.21"}})
    lock = "onnx==1.20\n" + "".join(f"p{n:02}==1\n" for n in range(25))
    found = making_changes(MADE, again, lock, lock.replace("==1\n", "==2\n").replace("onnx==1.20", "onnx==1.21"))
    assert found[0] == ("package onnx", "1.20 then, 1.21 now")
    assert found[1] == ("package p00", "1 then, 2 now")
    assert found[-1] == ("packages", "5 more differ, see environment.txt")
    assert len(found) == 22


def test_parts_of_the_definition_and_views_that_changed_are_named() -> None:
    found = definition_changes(MADE, RECIPE, {"events": "1", "labels": "other"}, {})
    assert found == [
        ("definition of labels", "it has changed"),
        ("view spend", "1:abc then, not an input now"),
    ]
