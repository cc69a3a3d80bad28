"""Whether events are positive in truth, by the labels that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from backfill.scores.labels import truths
from penstock import EVENT_ID, EVENT_TIME, Contract, Labels
from penstock.kafka.reading import Record
from streams.plan.project import Project
from tests.backfill.scores.world import FROM, PIPELINE


class Kind(Contract, name="kind_for_scores", version=1):
    """What a tap turned out to be; null takes it back."""

    tap_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    kind: str | None
    loss: float | None
    is_fraud: bool | None


def found(given: list[tuple[str, int, Any]], value: str, **task: Any) -> dict[str, bool]:
    labels = Labels(topic="labels.taps", contract=Kind, value=value, **task)
    pipeline = PIPELINE.model_copy(update={"labels": labels})
    rest = {"kind": None, "loss": None, "is_fraud": None}
    records = [
        Record(0, n, 0, None, json.dumps(rest | {"tap_id": tap, "known_at": at, value: says}).encode(), ())
        for n, (tap, at, says) in enumerate(given)
    ]
    return truths(Project.of(pipeline, Path("nothing is committed")), records, None)


@pytest.mark.parametrize(
    ("value", "task", "values", "expected"),
    [
        ("is_fraud", {}, [True, False, None], {"0": True, "1": False}),
        ("kind", {"task": "multiclass", "positive": "theft"}, ["theft", "other", None], {"0": True, "1": False}),
        ("loss", {"task": "regression"}, [0.5, 0.4, None], {"0": True, "1": False}),
    ],
)
def test_a_label_says_whether_an_event_is_positive(
    value: str, task: dict[str, Any], values: list[Any], expected: dict[str, bool]
) -> None:
    given = [(str(number), FROM, each) for number, each in enumerate(values)]
    assert found(given, value, **task) == expected


def test_the_label_that_became_known_last_counts_and_one_may_be_taken_back() -> None:
    given = [("a", FROM + 1, True), ("a", FROM, False), ("b", FROM, True), ("b", FROM + 1, None), ("c", FROM, True)]
    given += [("c", FROM, False)]
    assert found(given, "is_fraud") == {"a": True, "c": False}
