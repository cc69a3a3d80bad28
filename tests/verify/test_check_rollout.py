"""The verifier must find every way in which a rollout can go wrong, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kafka.reading import Record
from scoring.rollout.policy import PublishedPolicy, RolloutPolicy
from tests.verify.rollout_pipeline import (
    PARTITIONS,
    PIPELINE,
    canary,
    exploring,
    only_champion,
    project,
    scores,
    write_models,
)
from tests.verify.rollout_world import World, letter_of, rolled_back
from tests.verify.sabotage.catalogue import Mutant
from tests.verify.sabotage.editing import with_values
from tests.verify.sabotage.rollout import ROLLOUT_MUTANTS
from tests.verify.sabotage.shadows import SHADOW_MUTANTS
from verify.check_predictions import SCORE_TOLERANCE, policy_version
from verify.check_rollout import RolloutFindings, check_rollout, features_position
from verify.check_scores import ScoreCheck
from verify.check_shadows import ShadowFindings, check_shadows
from verify.judge import judge
from verify.published import Position
from verify.replays import Replayed
from verify.report import PipelineReport
from verify.run_data import RunData

PLAN = project().plan
SCORE_CHECK = ScoreCheck(
    PIPELINE.model,
    policy_version(PIPELINE.model),
    lambda version: partial(scores, version),
    lambda _: SCORE_TOLERANCE,
    lambda _: None,
)
MUTANTS = [*ROLLOUT_MUTANTS, *SHADOW_MUTANTS]


@pytest.fixture(scope="module")
def world() -> World:
    return rolled_back()


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunData:
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    return world.run(models)


def judged(run: RunData) -> PipelineReport:
    return judge(project(), run, pii_key=b"")


def test_a_rollout_as_it_should_be_passes_and_is_counted(world: World, run: RunData) -> None:
    report = judged(run)
    # The run has no stores.
    assert [text for text in report.failures() if "Redis" not in text and "Cassandra" not in text] == []
    assert report.unchecked() == []
    assert report.rollout is not None
    assert 1 < report.letters_replayed < len(world.letters)
    found = report.rollout.model_dump()
    assert found.pop("by_champion") == sum(one.value["route"] == "fallback" for one in run.predictions) > 1
    assert found.pop("predictions") == sum(one.value["rollout"] is not None for one in run.predictions)
    assert found.pop("explored") > 5
    assert found.pop("shadows") == len(run.shadows)
    # Of three policies that each of three partitions takes up, one is marked again by the scorer that takes over.
    assert found == {"changes": 3, "markers": 10, "refusals": 1, "shadows_missing": world.silent, "corrections": 1}
    assert world.silent > 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_verifier_finds(mutant: Mutant, run: RunData) -> None:
    report = judged(mutant.change(project(), run))
    assert [name for name in mutant.found_by if getattr(report, name)], report.failures()


def test_a_pipeline_without_a_log_passes_and_has_no_rollout(run: RunData) -> None:
    world = World(seed=3, events=30)
    for partition in range(PARTITIONS):
        world.score(partition, 30, None)
    report = judged(world.run(run.models))
    assert (report.rollout, report.rollout_mismatches, report.prediction_mismatches) == (None, 0, 0)


# --- what scorers do, in any order: no false alarm


class Batch(NamedTuple):
    """What becomes of the next batch of a partition.

    Args:
        partition: Whose it is.
        events: Its length.
        behind: How many of the latest policies its scorer has not read yet.
        aborted: How often its transaction is aborted; nobody sees what that wrote.
        is_left: Whether the markers of the aborted attempts are seen all the same.
        is_taken_over: Whether another scorer reads it, which marks its policy anew.
    """

    partition: int
    events: int
    behind: int
    aborted: int
    is_left: bool
    is_taken_over: bool


class Publication(NamedTuple):
    """A policy, and the step of a canary."""

    policy: RolloutPolicy
    step: int


BATCHES = st.builds(
    Batch,
    partition=st.integers(0, PARTITIONS - 1),
    events=st.integers(1, 25),
    behind=st.integers(0, 2),
    aborted=st.integers(0, 2),
    is_left=st.booleans(),
    is_taken_over=st.booleans(),
)
PUBLICATIONS = st.sampled_from(
    [
        Publication(canary(exploring("card7")), 0),
        Publication(canary(exploring("card3")), 1),
        Publication(canary(), 2),
        Publication(only_champion(), 0),
    ]
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9), steps=st.lists(BATCHES | PUBLICATIONS, min_size=8, max_size=20))
def test_whatever_is_read_again_or_marked_twice_is_no_false_alarm(seed: int, steps: list[Batch | Publication]) -> None:
    world, policies = World(seed, events=150), list[PublishedPolicy]()
    for step in steps:
        if isinstance(step, Publication):
            policies.append(world.publish(step.policy, step=step.step))
            continue
        read = policies[: len(policies) - step.behind] or (policies if world.is_marked(step.partition) else [])
        if read and step.aborted:
            for _ in range(step.aborted if step.is_left else 0):
                world.mark_next(step.partition, policies[-1])
            world.take_over(step.partition)
        if step.is_taken_over:
            world.take_over(step.partition)
        world.score(step.partition, step.events, read[-1] if read else None)
    findings, shadows = check(world)
    assert (findings.examples, shadows.examples, shadows.missing) == ([], [], world.silent)


def check(world: World, **changes: Any) -> tuple[RolloutFindings, ShadowFindings]:
    """What the two checks find in the world, or in a run that differs from it."""
    run = dataclasses.replace(world.run(), **changes)
    found = check_rollout(PLAN, run)
    vectors = [np.frombuffer(one.value["vector"], np.float32) for one in run.predictions]
    scored = [*zip(run.predictions, vectors, strict=True)]
    shadows = check_shadows(
        PIPELINE.model, found.log.policies, run.predictions, run.shadows, scored, lambda _: SCORE_CHECK
    )
    return found, shadows


# --- single cases


def canaried(events: int = 40) -> World:
    """A world in which every event is scored by a canary's arms; partition 0 has events without a policy before."""
    world = World(seed=2, events=events)
    world.score(0, 3, None)
    policy = world.publish(canary(exploring("card7")), step=1)
    for partition in range(PARTITIONS):
        world.score(partition, events, policy)
    return world


def first_in(world: World, partition: int, changes: dict[str, Any]) -> dict[str, Any]:
    """The run's predictions, of which the first one under a policy in the partition is changed."""
    at = next(
        n for n, one in enumerate(world.predictions) if one.partition == partition and one.value["rollout"] is not None
    )
    predictions = list(world.predictions)
    predictions[at] = with_values(predictions[at], **changes)
    return {"predictions": predictions}


def test_of_a_cascade_the_fast_version_is_the_arms() -> None:
    world = canaried()
    own = next(one.value["model_version"] for one in world.predictions if one.partition == 1)
    for fast, mismatches in ((own, 0), ("8", 1)):
        way = {"fast_version": fast, "strong_version": "5"}
        changed = first_in(world, 1, {"cascade": way, "model": "big", "model_version": "5"})
        assert check(world, **changed)[0].mismatches == mismatches


@pytest.mark.parametrize("infer_ms", [-1.0, float("nan"), float("inf")])
def test_an_arm_that_took_no_time_that_can_be_is_found(infer_ms: float) -> None:
    world = canaried()
    arm = next(one.value["rollout"] for one in world.predictions if one.partition == 1)
    assert check(world, **first_in(world, 1, {"rollout": arm | {"infer_ms": infer_ms}}))[0].mismatches == 1


def test_a_replay_is_judged_by_the_policy_that_it_names() -> None:
    world = World(seed=2, events=40)
    world.score(0, 2, None, refused=1)
    first = world.publish(canary())
    world.score(0, 5, first, refused=1)
    second = world.publish(canary(), step=1)
    world.replay(second)
    assert check(world)[0].examples == []
    assert sum(one.replayed is not None for one in world.predictions) == 2


@pytest.mark.parametrize(("marked", "mismatches"), [(False, 0), (True, 1)])
def test_a_replay_names_no_policy_only_of_an_event_before_the_first_one(marked: bool, mismatches: int) -> None:
    world = World(seed=2, events=40)
    policy = world.publish(only_champion())
    world.score(0, 3, policy if marked else None, refused=1)
    world.replay(None)
    assert check(world)[0].mismatches == mismatches


def test_an_event_of_a_letter_of_features_is_replayed_under_a_policy_or_none() -> None:
    world = canaried()
    # A feature record at this offset would be under a policy.
    place = {"features_topic": "features.taps.dlq", "features_partition": 0, "features_offset": 1_000}
    at = next(n for n, one in enumerate(world.predictions) if one.value["rollout"] is not None)
    of_letter = dataclasses.replace(with_values(world.predictions[at], **place), replayed=Replayed("x", 1))
    for replay in (of_letter, with_values(of_letter, rollout=None)):
        assert check(world, predictions=[*world.predictions, replay], shadows=[])[0].mismatches == 0


def test_a_marker_may_begin_at_an_event_that_was_refused() -> None:
    world = World(seed=2, events=40)
    world.score(0, 1, world.publish(only_champion()), refused=1)
    assert check(world)[0].examples == []
    assert check(world, unscored=())[0].mismatches == 1


def test_a_marker_of_events_that_kafka_has_deleted_is_not_looked_up() -> None:
    world = canaried()
    world.score(1, 1, world.changes[0].policy)
    places = [Position(record.partition, record.offset) for record in world.features if record.partition == 1]
    kept = [r for r in world.features if r.partition != 1 or r.offset > places[2].offset]
    served = [p for p in world.predictions if p.partition != 1 or p.value["features_offset"] > places[2].offset]
    assert check(world, features=kept, predictions=served, shadows=[])[0].examples == []


def test_a_marker_of_a_partition_that_does_not_exist_is_found() -> None:
    world = canaried()
    world.mark(PARTITIONS, 0, world.changes[0].policy.hash)
    found = check(world)[0]
    assert found.examples == [f"rollout.log[0]@8: there is no partition {PARTITIONS}"]


def test_a_policy_without_an_arm_for_an_entity_is_reported_once() -> None:
    world = canaried()
    change = json.loads(world.log[0].value or b"")
    change["policy"]["ranges"] = change["policy"]["ranges"][:1]
    log = [dataclasses.replace(world.log[0], value=json.dumps(change).encode()), *world.log[1:]]
    assert check(world, rollout_log=log)[0].mismatches > 0


def test_a_prediction_that_was_corrected_must_exist() -> None:
    world = canaried()
    world.correct(0)
    assert check(world)[0].examples == []
    assert check(world, predictions=world.predictions[1:])[0].mismatches == 1


def test_an_event_scored_by_the_other_arm_is_found_however_right_its_score_is(run: RunData) -> None:
    predictions = list(run.predictions)
    at = next(n for n, one in enumerate(predictions) if (one.value["rollout"] or {}).get("probability") == 0.3)
    value = predictions[at].value
    score = float(scores("1", np.frombuffer(value["vector"], np.float32)[np.newaxis])[0, 0])
    of_other = {
        "model_version": "1",
        "score": score,
        "decision": PIPELINE.model.positive if score >= PIPELINE.model.threshold else PIPELINE.model.negative,
        "rollout": value["rollout"] | {"arm": "first", "probability": 0.7},
    }
    predictions[at] = with_values(predictions[at], **of_other)
    report = judged(dataclasses.replace(run, predictions=predictions))
    assert report.rollout_mismatches == 3  # arm, probability and version
    assert report.prediction_mismatches == 0


def test_a_letter_that_only_the_candidate_makes_true_is_found(run: RunData) -> None:
    """Version 2 has no number for small amounts, and the champion has."""
    served = next(
        one
        for one in run.predictions
        if one.value["rollout"] is not None
        and one.replayed is None
        and np.isnan(scores("2", np.frombuffer(one.value["vector"], np.float32)[np.newaxis]))
    )
    place = features_position(served)
    letter = Record(place.partition, 99, 0, None, None, tuple(letter_of(*place[:2]).headers()))
    unscored, kept = [*run.unscored, letter], [one for one in run.predictions if one is not served]
    shadows = [one for one in run.shadows if features_position(one) != place]
    report = judged(dataclasses.replace(run, predictions=kept, shadows=shadows, unscored=unscored))
    assert (report.prediction_mismatches, report.rollout_mismatches) == (1, 0)


def test_the_champion_scores_for_a_candidate_by_the_route_fallback_only(run: RunData) -> None:
    predictions = list(run.predictions)
    at = next(n for n, one in enumerate(predictions) if one.value["route"] == "fallback")
    predictions[at] = with_values(predictions[at], route="primary")
    assert judged(dataclasses.replace(run, predictions=predictions)).rollout_mismatches == 1


def test_no_other_version_than_the_champions_scores_for_a_candidate() -> None:
    world = canaried()
    changed = first_in(world, 1, {"model_version": "3", "route": "fallback"})
    assert check(world, **changed)[0].mismatches == 1


def test_an_event_of_the_champions_own_arm_was_not_taken_from_a_candidate() -> None:
    world = canaried()
    late = [with_values(one, route="fallback") for one in world.predictions]
    found = check(world, predictions=late, shadows=[])[0]
    by_champion = [one for one in world.predictions if one.value["route"] == "fallback"]
    assert (found.examples, found.by_champion) == ([], len(by_champion))
