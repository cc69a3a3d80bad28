"""The scorer's dead letters: true ones answer their events, all others are found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from penstock.kafka.reading import Record
from schemas.dead_letters import DeadLetter
from streams.definitions.cascade import Cascade
from tests.verify.test_check_predictions import MODEL, PLAN, world
from verify.check_cascade import routes
from verify.check_unscored import UnscoredFindings, check_unscored
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Position, Published


def nan_for_the_second(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.where(vectors[:, :1] == np.float32(0.1), np.nan, vectors[:, :1])


def letter(event: int, **changes: Any) -> Record:
    reason = {"stage": "score", "reason": "penstock.NotANumber", "component": "penstock.scorer", "message": "why"}
    place = {"topic": "features.p", "partition": 0, "offset": event + 100, "pipeline": "p"}
    found = DeadLetter(**(place | reason | changes))
    return Record(0, event, 0, b"a", None, tuple(found.headers()))


def check(*letters: Record, unreadable: tuple[str, ...] = ()) -> UnscoredFindings:
    _, features, _ = world(3)
    return check_unscored(PLAN, MODEL, features, letters, unreadable, lambda _: [nan_for_the_second])


def test_a_letter_of_an_event_without_a_number_answers_it() -> None:
    findings = check(letter(1))
    assert (findings.mismatches, findings.positions) == (0, {Position(0, 1)})


@pytest.mark.parametrize(
    "wrong",
    [
        letter(0),
        letter(1, offset=500),
        letter(1, reason="penstock.TooLarge"),
        letter(1, reason="penstock.ModelFailed"),
        letter(1, reason="penstock.Whatever"),
        letter(1, stage="decode"),
        Record(0, 0, 0, None, b"x", ()),
    ],
)
def test_a_letter_that_is_not_true_is_found(wrong: Record) -> None:
    assert check(wrong).mismatches == 1


def test_whether_a_model_with_inputs_of_other_pipelines_has_a_number_is_not_checked() -> None:
    model = MODEL.model_copy(update={"inputs": (*MODEL.inputs, "cards:by_card.n")})
    _, features, _ = world(3)
    findings = check_unscored(PLAN, model, features, [letter(1)], (), lambda _: [nan_for_the_second])
    assert (findings.mismatches, findings.positions) == (0, {Position(0, 1)})
    assert "a letter has no inputs of other pipelines, such as cards:by_card.n" in findings.unchecked[0]


def test_a_second_letter_of_an_event_is_found() -> None:
    assert check(letter(1), letter(1)).mismatches == 1


def test_letters_of_records_that_cannot_be_read_and_of_the_drift_app_are_left_out() -> None:
    unreadable = letter(1, stage="decode", offset=700)
    findings = check(unreadable, letter(1, topic="predictions.p"), unreadable=("features[0]@700",))
    assert (findings.mismatches, findings.positions) == (0, set())


def test_the_excerpt_of_an_unreadable_record_is_taken_for_its_letter() -> None:
    cut = letter(1, stage="decode", offset=700, value=b"\x00" * 16 * 1024, value_bytes=70 << 20)
    assert check(cut, unreadable=("features[0]@700",)).mismatches == 0


def test_a_carried_column_called_entity_is_not_taken_for_a_view() -> None:
    _, features, _ = world(3)
    for record in features:
        record.value["event"]["entity"] = 5
    too_large = letter(1, reason="penstock.TooLarge")
    assert check_unscored(PLAN, MODEL, features, [too_large], (), lambda _: [nan_for_the_second]).mismatches == 1


def test_a_letter_that_was_replayed_answers_nothing_and_must_still_be_true() -> None:
    _, features, _ = world(3)
    letters = [letter(1), letter(2, stage="decode"), letter(0)]
    replayed = {f"predictions.p.dlq[0]@{event}" for event in range(3)}
    findings = check_unscored(PLAN, MODEL, features, letters, (), lambda _: [nan_for_the_second], replayed)
    assert findings.positions == set()
    assert findings.examples == [
        "predictions.dlq[0]@0: penstock.NotANumber is not true of event Position(partition=0, offset=0)"
    ]


def test_a_record_that_a_replay_refused_again_was_scored_by_nobody_knows_which_version() -> None:
    _, features, _ = world(3)

    def scorers(record: Published | None) -> list[Scorer]:
        return [nan_for_the_second] if record is None else [lambda vectors: vectors[:, :1]]

    first = letter(1)
    again = DeadLetter(
        topic="features.p",
        partition=0,
        offset=101,
        pipeline="p",
        stage="score",
        component="penstock.replay",
        reason="penstock.NotANumber",
        message="why",
    ).replayed("predictions.p.dlq[0]@1", 1)
    for record, mismatches in ((first, 1), (replace(first, headers=tuple(again.headers())), 0)):
        assert check_unscored(PLAN, MODEL, features, [record], (), scorers).mismatches == mismatches


def cannot_be_asked(_: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    raise CannotBeAsked("model risk version 3 in Triton is not loaded")


@pytest.mark.parametrize("reason", ["penstock.NotANumber", "penstock.ModelFailed"])
def test_a_letter_that_only_a_model_out_of_reach_could_prove_is_unchecked(reason: str) -> None:
    _, features, _ = world(3)
    found = check_unscored(PLAN, MODEL, features, [letter(0, reason=reason)], (), lambda _: [cannot_be_asked])
    assert (found.mismatches, found.positions) == (0, {Position(0, 0)})
    assert found.unchecked == [
        f"predictions.dlq[0]@0: whether {reason} is true: model risk version 3 in Triton is not loaded"
    ]


def test_a_letter_that_another_version_proves_is_true_without_it() -> None:
    _, features, _ = world(3)
    scorers = [cannot_be_asked, nan_for_the_second]
    found = check_unscored(PLAN, MODEL, features, [letter(1)], (), lambda _: scorers)
    assert (found.mismatches, found.unchecked) == (0, [])


def test_of_a_cascade_only_the_model_that_decides_the_event_makes_a_letter_true() -> None:
    """The strong model has no number for any event, and decides event 1; the fast one has none for event 2."""
    model = MODEL.model_copy(update={"cascade": Cascade(strong="big")})
    _, features, _ = world(3)

    def fast(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.where(vectors[:, :1] == np.float32(0.2), np.nan, vectors[:, :1])

    def strong(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.full_like(vectors[:, :1], np.nan)

    scorers = routes(model, {"1": fast}, {"1": strong}, {("1", "1"): {(0.05, 0.15)}}, lambda *_: 1e-5)
    found = check_unscored(PLAN, model, features, [letter(0), letter(1), letter(2)], (), lambda _: scorers)
    assert found.examples == [
        "predictions.dlq[0]@0: penstock.NotANumber is not true of event Position(partition=0, offset=0)"
    ]
