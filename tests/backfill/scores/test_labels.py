"""Whether events are positive in truth, by the labels that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from backfill.scores.labels import Truths
from penstock import EVENT_ID, EVENT_TIME, Contract, Labels
from penstock.kafka.reading import Record
from streams.plan.project import Project
from tests.backfill.scores.world import FROM, PIPELINE
from tests.backfill.training_sets.worlds import OPINIONS, Label, World


class Kind(Contract, name="kind_for_scores", version=1):
    """What a tap turned out to be; null takes it back."""

    tap_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    kind: str | None
    loss: float | None
    is_fraud: bool | None


def found(folder: Path, given: list[tuple[str, int, Any]], value: str, **declared: Any) -> Truths:
    labels = Labels(topic="labels.taps", contract=Kind, value=value, **declared)
    pipeline = PIPELINE.model_copy(update={"labels": labels})
    rest = {"kind": None, "loss": None, "is_fraud": None}
    records = [
        Record(0, n, -1, None, json.dumps(rest | {"tap_id": tap, "known_at": at, value: says}).encode(), ())
        for n, (tap, at, says) in enumerate(given)
    ]
    return Truths.of(Project.of(pipeline, Path("nothing is committed")), lambda _: records, None, folder)


@pytest.mark.parametrize(
    ("value", "task", "values", "expected"),
    [
        ("is_fraud", {}, [True, False, None], [True, False, None, None]),
        ("kind", {"task": "multiclass", "positive": "theft"}, ["theft", "other", None], [True, False, None, None]),
        ("loss", {"task": "regression"}, [0.5, 0.4, None], [True, False, None, None]),
    ],
)
def test_a_label_says_whether_an_event_is_positive(
    value: str, task: dict[str, Any], values: list[Any], expected: list[bool | None], tmp_path: Path
) -> None:
    given = [(str(number), FROM, each) for number, each in enumerate(values)]
    truth = found(tmp_path, given, value, **task)
    assert truth(list("0123"), [FROM] * 4, [None] * 4) == expected


def test_the_label_that_became_known_last_counts_and_one_may_be_taken_back(tmp_path: Path) -> None:
    given = [("a", FROM + 1, True), ("a", FROM, False), ("b", FROM, True), ("b", FROM + 1, None), ("c", FROM, True)]
    given += [("c", FROM, False)]
    truth = found(tmp_path, given, "is_fraud")
    assert truth(list("abc"), [FROM] * 3, [None] * 3) == [True, None, False]


@pytest.mark.parametrize(
    ("absent", "hidden_by", "expected"),
    [
        # In turn: in time, too late, taken back, none; then too young, and an event that was blocked.
        (None, None, [True, None, None, None, None, None]),
        ("excluded", None, [True, None, None, None, None, None]),
        ("negative", None, [True, False, False, False, None, False]),
        ("negative", "block", [True, False, False, False, None, None]),
    ],
)
def test_with_a_horizon_only_old_enough_events_count_and_no_label_means_what_is_declared(
    absent: Any, hidden_by: str | None, expected: list[bool | None], tmp_path: Path
) -> None:
    given = [("a", FROM + 10, True), ("b", FROM + 11, True), ("c", FROM, True), ("c", FROM + 1, None)]
    given += [("e", FROM + 2, True), ("newest", FROM + 11, False)]
    truth = found(tmp_path, given, "is_fraud", horizon=10, absent=absent, hidden_by=hidden_by)
    events = [("a", FROM, "pass"), ("b", FROM, "pass"), ("c", FROM, "pass"), ("d", FROM + 1, "pass")]
    events += [("e", FROM + 2, "pass"), ("f", FROM, "block")]
    assert truth(*zip(*events, strict=True)) == expected


def test_without_any_label_nothing_is_known(tmp_path: Path) -> None:
    assert found(tmp_path, [], "is_fraud", horizon=10, absent="negative")(["a"], [FROM], ["pass"]) == [None]


def test_of_two_sources_the_first_that_says_something_counts(tmp_path: Path) -> None:
    labels = [Label("a", 7, False), Label("a", 8, True, source=1), Label("b", 7, None), Label("b", 1, True, source=1)]
    world = World([], labels, {"otherwise": (OPINIONS,)})
    truth = Truths.of(world.project(), world.records, None, tmp_path)
    assert truth(list("abc"), [0] * 3, [None] * 3) == [False, True, None]
