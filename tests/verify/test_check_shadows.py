"""Shadow predictions: each stands beside the prediction that was served, of a version that is in shadow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.verify.rollout_pipeline import PARTITIONS, PIPELINE, canary, project, scores
from tests.verify.rollout_world import World
from tests.verify.sabotage.editing import with_values
from verify.check_predictions import SCORE_TOLERANCE, policy_version
from verify.check_rollout import check_rollout
from verify.check_scores import ScoreCheck, Scored
from verify.check_shadows import ShadowFindings, check_shadows
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Published


def world() -> World:
    """Every event scored by version 1, and by versions 2 and 3 in shadow."""
    found = World(seed=4, events=40)
    policy = found.publish(canary())
    for partition in range(PARTITIONS):
        found.score(partition, 40, policy)
    return found


def scorer_of(version: str) -> Scorer:
    return partial(scores, version)


def check(
    found: World,
    shadows: Sequence[Published],
    scorer: Callable[[str], Scorer] = scorer_of,
    predictions: Sequence[Published] | None = None,
    contributions: Scorer | None = None,
) -> ShadowFindings:
    served = found.predictions if predictions is None else predictions
    vectors = [np.frombuffer(one.value["vector"], np.float32) for one in served]
    return judged(found, served, shadows, [*zip(served, vectors, strict=True)], scorer, contributions)


def judged(
    found: World,
    served: Sequence[Published],
    shadows: Sequence[Published],
    scored: Sequence[Scored],
    scorer: Callable[[str], Scorer] = scorer_of,
    contributions: Scorer | None = None,
) -> ShadowFindings:
    policies = check_rollout(project().plan, found.run()).log.policies
    own = policy_version(PIPELINE.model)
    scores_of = ScoreCheck(PIPELINE.model, own, scorer, lambda _: SCORE_TOLERANCE, lambda _: contributions)
    return check_shadows(PIPELINE.model, policies, served, shadows, scored, lambda _: scores_of)


def test_shadows_as_they_should_be_hold() -> None:
    found = world()
    findings = check(found, found.shadows)
    assert (findings.examples, findings.unchecked) == ([], [])
    assert findings.shadows + findings.missing == 2 * len(found.predictions)
    assert len(findings.judged) == findings.shadows


def test_shadows_that_are_missing_are_counted_and_no_mismatch() -> None:
    found = world()
    assert check(found, found.shadows[3:]).missing == found.silent + 3
    assert check(found, []).mismatches == 0


def test_of_a_replay_no_version_owes_a_score_in_shadow() -> None:
    found = World(seed=4, events=40)
    policy = found.publish(canary())
    found.score(0, 4, policy, refused=2)
    found.replay(policy)
    assert (check(found, found.shadows).missing, len(found.shadows)) == (0, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rollout": None}, "under another policy than the prediction at predictions"),
        ({"arm": "first"}, "arm is 'first', should be 'shadow'"),
        ({"probability": 0.5}, "probability is 0.5, should be 1.0"),
        ({"explored": True}, "explored is True, should be False"),
        ({"propensity": 0.99}, "propensity is 0.99, should be 1.0"),
        ({"infer_ms": -1.0}, "infer_ms is -1.0"),
        ({"event_id": "other"}, "event_id is 'other', the prediction that was served has"),
        ({"views": [{"view": "x"}]}, "views is"),
        ({"defaulted": [{"view": "v", "reason": "MISSING"}]}, "defaulted is"),
        ({"outputs": [{"name": "loss", "value": 1.0}]}, "outputs [1.0], version"),
        ({"model": "another"}, "model 'another' is not the definition's"),
        ({"model_version": "1"}, "has no version 1 in shadow"),
    ],
)
def test_every_wrong_shadow_is_found(changes: dict[str, Any], said: str) -> None:
    found = world()
    one = found.shadows[0]
    if changes.keys() <= one.value["rollout"].keys():
        changes = {"rollout": one.value["rollout"] | changes}
    findings = check(found, [with_values(one, **changes), *found.shadows[1:]])
    assert said in " ".join(findings.examples), findings.examples


@pytest.mark.parametrize("changes", [{"key": b"another"}, {"partition": 7}])
def test_a_shadow_in_another_place_than_its_prediction_is_found(changes: dict[str, Any]) -> None:
    found = world()
    moved = dataclasses.replace(found.shadows[0], **changes)
    assert check(found, [moved, *found.shadows[1:]]).mismatches == 1


def test_a_shadow_beside_two_predictions_is_found() -> None:
    found = world()
    twice = [*found.predictions, found.predictions[0]]
    assert check(found, found.shadows, predictions=twice).mismatches == 2


def test_the_fast_version_of_a_cascade_in_shadow_is_the_one_in_shadow() -> None:
    found = world()
    for fast, mismatches in (("2", 0), ("8", 1)):
        way = {"fast_version": fast, "strong_version": "3"}
        at = next(n for n, one in enumerate(found.shadows) if one.value["model_version"] == "2")
        shadows = list(found.shadows)
        shadows[at] = with_values(shadows[at], cascade=way)
        assert check(found, shadows).mismatches == mismatches


def test_shadows_of_a_model_that_cannot_be_asked_are_unchecked_and_the_rest_is_checked() -> None:
    def nobody(version: str) -> Scorer:
        if version == "3":
            raise CannotBeAsked("model risk version 3 in Triton is not loaded")
        return partial(scores, version)

    found = world()
    findings = check(found, found.shadows, nobody)
    count = sum(one.value["model_version"] == "3" for one in found.shadows)
    assert findings.mismatches == 0
    assert findings.unchecked == [
        f"the scores of {count} predictions by version 3: model risk version 3 in Triton is not loaded"
    ]


def test_a_shadow_whose_prediction_cannot_be_judged_has_no_score_to_compare_with() -> None:
    found = world()
    wrong = with_values(found.shadows[0], score=0.99)
    assert judged(found, found.predictions, [wrong, *found.shadows[1:]], []).mismatches == 0


def test_the_reasons_of_a_shadow_are_those_of_its_version() -> None:
    def push(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.tile(np.array([0.25, -1.0], np.float32), (len(vectors), 1))

    found = world()
    reasons = [{"input": "event.amount", "contribution": 0.25}]
    named = [
        with_values(one, reasons=reasons) if one.value["score"] >= PIPELINE.model.threshold else one
        for one in found.shadows
    ]
    explained = sum(bool(one.value["reasons"]) for one in named)
    assert check(found, named, contributions=push).mismatches == 0
    assert check(found, found.shadows, contributions=push).mismatches == explained > 0
