"""The verifier must find every way in which predictions can be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streams.definitions.cascade import Cascade
from streams.definitions.pipeline import Model
from tests.plans import make_plan, view_of
from tests.verify.test_check_features import COUNT
from verify.check_predictions import PredictionFindings, check_predictions, policy_version
from verify.emissions import JudgedEvent
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Position, Published

PLAN = make_plan(fields=[], views=[view_of(COUNT)], passthrough=[("x", "double")])
MODEL = Model(name="m", inputs=("event.x", "v.n"), threshold=0.5, positive="block", negative="approve")


def double_of_first(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors[:, :1] * 2


def world(count: int) -> tuple[dict[Position, JudgedEvent], list[Published], list[Published]]:
    """Events with x = 0.0, 0.1, ..., their features and what must be predicted of them."""
    events, features, predictions = {}, [], []
    for n in range(count):
        position = Position(0, n)
        events[position] = JudgedEvent(position, 7, b"a", f"id{n}", n, {"k": "a"})
        source = {"topic": "events", "partition": 0, "offset": n, "timestamp": 7}
        head = {"event_id": f"id{n}", "event_time": n, "attempt": 0, "source": source}
        view = {"entity": "a", "epoch": 1, "seq": n + 1, "as_of": n}
        x = n / 10
        record = Published(0, n + 100, b"a", {**head, "event": {"x": x}, "v": {**view, "late": False, "n": n + 1}})
        vector = np.array([x, n + 1], dtype="<f4")
        score = float(vector[0] * 2)
        value: dict[str, Any] = {
            **head,
            "pipeline": "p",
            "entity": "a",
            "policy_version": "f660b1e821a7",  # of [0.5,"block","approve"]
            "score": score,
            "decision": "block" if score >= 0.5 else "approve",
            "model": "m",
            "model_version": "1",
            "route": "primary",
            "views": [{"view": "v@1", **view}],
            "features_topic": "features.p",
            "features_partition": 0,
            "features_offset": n + 100,
            "vector": vector.tobytes(),
            "outputs": [],
            "reasons": [],
            "defaulted": [],
        }
        features.append(record)
        predictions.append(Published(0, n, b"a", value))
    return events, features, predictions


def check(
    events: dict[Position, JudgedEvent], features: list[Published], predictions: list[Published]
) -> PredictionFindings:
    return check_predictions(PLAN, MODEL, events, features, predictions, lambda *_: double_of_first)


def with_value(prediction: Published, **changes: Any) -> Published:
    return Published(prediction.partition, prediction.offset, prediction.key, {**prediction.value, **changes})


def test_one_right_prediction_per_event_holds() -> None:
    findings = check(*world(8))
    assert (findings.predictions, findings.mismatches, findings.duplicates, findings.gaps) == (8, 0, 0, 0)


def test_a_second_prediction_and_a_missing_one_are_found() -> None:
    events, features, predictions = world(3)
    findings = check(events, features, [predictions[0], predictions[0], predictions[1]])
    assert (findings.duplicates, findings.gaps) == (1, 1)


def test_a_prediction_of_an_event_that_is_not_valid_is_found() -> None:
    events, features, predictions = world(2)
    del events[Position(0, 1)]
    assert check(events, features, predictions).mismatches == 1


def test_the_first_emission_is_the_one_that_must_be_scored() -> None:
    events, features, predictions = world(1)
    again = Published(0, 500, b"a", {**features[0].value, "attempt": 1})
    assert check(events, [again, *features], predictions).mismatches == 0
    assert check(events, [again], predictions).mismatches == 2  # offset and attempt


def test_wrong_scores_vectors_decisions_and_references_are_found() -> None:
    for changes in (
        {"score": 0.21},
        {"vector": b"\0" * 8},
        {"decision": "block"},
        {"views": []},
        {"outputs": [{"name": "loss", "value": 0.0}]},
        {"reasons": [{"input": "event.x", "contribution": 1.0}]},
        {"features_offset": 1},
        {"event_id": "other"},
    ):
        events, features, predictions = world(2)
        findings = check(events, features, [predictions[0], with_value(predictions[1], **changes)])
        assert findings.mismatches == 1, changes


def test_a_score_that_is_no_number_is_a_mismatch() -> None:
    events, features, predictions = world(1)
    findings = check(events, features, [with_value(predictions[0], score=float("nan"))])
    assert findings.mismatches >= 1


def test_fallbacks_are_counted_and_judged_like_the_rest() -> None:
    events, features, predictions = world(2)
    findings = check(events, features, [with_value(p, route="fallback") for p in predictions])
    assert (findings.fallbacks, findings.mismatches) == (2, 0)


def test_decisions_under_another_policy_are_reported_as_unchecked() -> None:
    events, features, predictions = world(2)
    changed = with_value(predictions[1], policy_version="0" * 12, decision="block")
    findings = check(events, features, [predictions[0], changed])
    assert findings.mismatches == 0
    assert findings.unchecked == ["the decisions of 1 prediction: policy 000000000000 is not the definition's"]


def test_scores_of_a_model_that_cannot_be_asked_are_unchecked_and_the_rest_is_checked() -> None:
    def nobody(_name: str, _version: str) -> Scorer:
        raise CannotBeAsked("model risk version 3 in Triton is not loaded")

    events, features, predictions = world(3)
    predictions[1] = with_value(predictions[1], vector=b"\0" * 8)
    predictions[2] = with_value(predictions[2], score=0.3)
    findings = check_predictions(PLAN, MODEL, events, features, predictions, nobody)
    assert findings.mismatches == 1
    assert findings.unchecked == [
        "the scores of 3 predictions by version 1: model risk version 3 in Triton is not loaded"
    ]


def test_a_score_may_differ_by_the_tolerance_of_its_version_and_no_more() -> None:
    events, features, predictions = world(2)
    near = [with_value(one, score=one.value["score"] + 0.0009) for one in predictions]
    for tolerance, mismatches in ((0.001, 0), (0.0008, 2)):
        findings = check_predictions(
            PLAN, MODEL, events, features, near, lambda *_: double_of_first, tolerance_of=lambda *_, t=tolerance: t
        )
        assert findings.mismatches == mismatches


def earlier(record: Published, *views: str) -> Published:
    """The record as an earlier definition of these views wrote it."""
    return replace(record, value=record.value | dict.fromkeys(views), lacks=frozenset(views))


def test_after_a_view_has_changed_earlier_predictions_are_checked_by_the_vectors_that_they_carry() -> None:
    events, features, predictions = world(5)
    features[1] = earlier(features[1], "v")
    predictions[1] = with_value(predictions[1], views=[{**predictions[1].value["views"][0], "view": "v@0"}])
    findings = check(events, features, predictions)
    assert (findings.mismatches, findings.examples) == (0, [])
    assert findings.unchecked == ["the vectors of 1 prediction: an earlier definition wrote their feature records"]
    predictions[1] = with_value(predictions[1], score=0.3)
    assert check(events, features, predictions).mismatches == 1


def test_predictions_of_an_earlier_definitions_model_are_reported_as_unchecked() -> None:
    events, features, predictions = world(5)
    predictions[1] = with_value(predictions[1], model="before", score=0.9)
    assert check(events, features, predictions).mismatches == 1
    features[1] = replace(features[1], lacks=frozenset({"w"}))
    findings = check(events, features, predictions)
    assert findings.mismatches == 0
    assert findings.unchecked == ["the scores of 1 prediction: model before is not the definition's"]


@pytest.mark.parametrize(("off", "mismatches"), [(1.0, 0), (100.0, 1)])
def test_contributions_to_large_values_agree_but_for_rounding(off: float, mismatches: int) -> None:
    events, features, predictions = world(5)
    named = [
        with_value(one, reasons=[{"input": "event.x", "contribution": 2 + off}]) if n == 4 else one
        for n, one in enumerate(predictions)
    ]

    def contributions(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.array([[2 if x > 0.35 else -1, -1e6] for x in vectors[:, 0]], np.float32)

    found = check_predictions(
        PLAN, MODEL, events, features, named, lambda *_: double_of_first, contributions_of=lambda *_: contributions
    )
    assert found.mismatches == mismatches, found.examples


def test_the_reasons_of_a_positive_score_are_the_inputs_that_push_it_up_most() -> None:
    def contributions(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.stack([vectors[:, 0], -vectors[:, 1]], axis=1)

    events, features, predictions = world(5)  # the scores 0.6 and 0.8 are positive
    named = [
        with_value(one, reasons=[{"input": "event.x", "contribution": n / 10}]) if n >= 3 else one
        for n, one in enumerate(predictions)
    ]

    def wrong(some: list[Published]) -> int:
        return check_predictions(
            PLAN,
            MODEL,
            events,
            features,
            some,
            lambda *_: double_of_first,
            contributions_of=lambda *_: contributions,
        ).mismatches

    assert wrong(named) == 0
    assert wrong(predictions) == 2
    assert wrong([*named[:4], with_value(named[4], reasons=[{"input": "event.x", "contribution": 0.5}])]) == 1
    assert wrong([*named[:4], with_value(named[4], reasons=[{"input": "v.n", "contribution": 0.4}])]) == 1
    assert wrong([with_value(named[0], reasons=named[4].value["reasons"]), *named[1:]]) == 1


def test_an_audited_event_has_the_reasons_of_its_score_whatever_its_decision() -> None:
    model = MODEL.model_copy(update={"cascade": Cascade(strong="s")})
    events, features, predictions = world(3)  # all scores are negative
    audited = [
        with_value(one, policy_version=policy_version(model), cascade={"audited": n == 2})
        for n, one in enumerate(predictions)
    ]

    def wrong(contributions: float, reasons: list[dict[str, Any]]) -> int:
        return check_predictions(
            PLAN,
            model,
            events,
            features,
            [*audited[:2], with_value(audited[2], reasons=reasons)],
            lambda *_: double_of_first,
            contributions_of=lambda *_: lambda vectors: np.full_like(vectors, [contributions, -1.0]),
        ).mismatches

    reasons = [{"input": "event.x", "contribution": 0.2}]
    assert wrong(0.2, reasons) == wrong(-1.0, []) == 0
    assert wrong(0.2, []) == wrong(-1.0, reasons) == wrong(0.3, reasons) == 1


def test_a_model_that_is_none_of_the_cascade_and_a_cascade_that_is_not_declared_are_found() -> None:
    events, features, predictions = world(3)
    cascaded = MODEL.model_copy(update={"cascade": Cascade(strong="big")})
    own = {"policy_version": policy_version(cascaded)}
    named = [with_value(one, **own, **({"model": "ghost"} if n == 1 else {})) for n, one in enumerate(predictions)]
    found = check_predictions(PLAN, cascaded, events, features, named, lambda *_: double_of_first)
    assert (found.mismatches, len(found.judged)) == (1, 2)
    assert "model 'ghost' is none of the cascade" in found.examples[0]
    earlier = [with_value(one, model="ghost", policy_version="other") for one in predictions]
    found = check_predictions(PLAN, cascaded, events, features, earlier, lambda *_: double_of_first)
    assert (found.mismatches, found.unchecked[0]) == (
        0,
        "the scores of 3 predictions: model ghost is not the definition's",
    )
    forged = [with_value(predictions[0], cascade={"fast_version": "1"}), *predictions[1:]]
    assert check(events, features, forged).mismatches == 1
