"""Scorers follow rollout policies on real Kafka and Triton: each event by the arm of its entity, exactly once."""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from deploy.local.stack import Stack
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from scoring.rollout.policy_store import UnreadablePolicyError, change_policy, read_log, read_policy
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.version_loading import load_versions
from streams.definitions.rollout import Step
from streams.plan.project import open_project
from tests.integration.test_scoring import EAGER, PARTITIONS, assert_exactly_once
from tests.integration.verified import recorded_rollout
from tests.scoring.crashing_scorer import POINTS
from tests.scoring.rollout.naive_log import effective
from tests.scoring.scorer_bench import (
    WEIGHTS,
    ScorerBench,
    add_model,
    define,
    feeding,
    load_model,
    unload_model,
    wait_for,
)
from tests.verify.sabotage.catalogue import NothingToChangeError
from tests.verify.sabotage.rollout import ROLLOUT_MUTANTS
from verify.check_rollout import check_rollout

ENTITIES = 300
# Of the versions 1, 2, ...: each gives other scores.
VERSIONS = [WEIGHTS, -WEIGHTS, 2 * WEIGHTS]
CHAMPION = Arm(name="present", version=1, role="champion")
CANDIDATE = Arm(name="next", version=2)
STEPS = tuple(Step(weight=weight, least_events=1, least_time="1s", most_time="1h") for weight in (0.0, 0.2, 0.5))
EXPLORATION = Exploration(share=0.01, decision="pass", salt="taps/exploration")


class ManyEntities(ScorerBench):
    """Its events are of many entities."""

    def record(self, partition: int, offset: int, **changes: Any) -> dict[str, Any]:
        found = super().record(partition, offset, **changes)
        entity = f"card-{partition}-{offset % (ENTITIES // PARTITIONS)}"
        return found | {"activity": found["activity"] | {"entity": entity}}


@contextlib.contextmanager
def three_versions(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ManyEntities]:
    """A pipeline of three versions, which are all loaded; the first is the current one, the second inverts scores."""
    reference, pipeline = define(tmp_path, suffix, PARTITIONS)
    bench = ManyEntities(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    for weights in VERSIONS:
        add_model(pipeline, settings, weights=weights)
    load(bench, 1, 2, 3)
    yield bench
    with contextlib.suppress(Exception):  # if it fails, the test has failed already
        unload_model(pipeline, settings)


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ManyEntities]:
    with three_versions(settings, suffix, tmp_path) as bench:
        yield bench


def load(bench: ScorerBench, champion: int, *others: int) -> None:
    with contextlib.closing(open_server(PRIMARY_SERVER, bench.settings)) as server:
        load_versions(
            ModelRepository(bench.settings.model_repository), server, bench.pipeline.model.name, champion, others
        )


def canary(bench: ScorerBench, **changes: Any) -> RolloutPolicy:
    declared = {
        "pipeline": bench.pipeline.name,
        "mode": "canary",
        "salt": "taps/1",
        "arms": (CHAMPION, CANDIDATE),
        "steps": STEPS,
        "exploration": EXPLORATION,
    }
    return RolloutPolicy(**declared | changes)


def apply(
    bench: ScorerBench, policy: RolloutPolicy, weight: float | None = None, *, repairs: bool = False
) -> PublishedPolicy:
    """Publish a policy, with another weight of the candidate than that of its first step."""
    weights = None if weight is None else {"present": round(1 - weight, 4), "next": weight}

    def decide(before: PolicyChange | None) -> PolicyChange:
        return PolicyChange(
            policy=publish(policy, before and before.policy, weights),
            author="ada",
            reason="a test",
            previous=before and before.policy.hash,
            time_ms=time.time_ns() // 1_000_000,
            step=next((number for number, step in enumerate(policy.steps) if step.weight == weight), 0),
        )

    change = change_policy(bench.settings.kafka.access, bench.pipeline, decide, repairs=repairs)
    assert change is not None
    return change.policy


def share_of(salt: str, name: str) -> float:
    """Where an entity lies, as the documentation says."""
    return (int.from_bytes(hashlib.sha256(f"{salt}\x1f{name}".encode()).digest()[:8], "big") >> 11) / 2**53


def arm_of(published: PublishedPolicy, entity: str) -> str:
    part = int(share_of(published.policy.salt, entity) * 10_000)
    return next(each.arm for each in published.ranges if each.start <= part < each.end)


def score_of(version: int, vector: bytes) -> float:
    filled = np.nan_to_num(np.frombuffer(vector, "<f4"))
    return float(1 / (1 + np.exp(-(filled @ VERSIONS[version - 1])[0])))


def shadow_predictions(bench: ScorerBench) -> list[dict[str, Any]]:
    decoder = record_decoder("prediction")
    return [decoder.decode(m.value()) for m in bench.messages(bench.pipeline.shadow_topic)]


def markers_of(bench: ScorerBench) -> list[Marker]:
    entries = [logged.entry for logged in read_log(bench.settings.kafka.access, bench.pipeline)]
    return [entry for entry in entries if isinstance(entry, Marker)]


def assert_by_policy(bench: ScorerBench, policies: list[PublishedPolicy]) -> Counter[str | None]:
    """Each prediction is what the policy says that was effective at its offset; the number under each policy."""
    markers, known, under = markers_of(bench), {each.hash: each for each in policies}, Counter[str | None]()
    expected_shadows: dict[tuple[int, int], tuple[int, ...]] = {}
    for one in bench.predictions():
        place = one["features_partition"], one["features_offset"]
        found = effective(markers, *place)
        under[found] += 1
        if found is None:
            assert (one["rollout"], one["model_version"]) == (None, "1")
            continue
        published, says = known[found], one["rollout"]
        policy, arm = published.policy, arm_of(published, one["entity"])
        assert (says["policy"], says["arm"]) == (found[:12], arm)
        assert says["probability"] == published.weights[arm]
        assert one["model_version"] == str(next(each.version for each in policy.arms if each.name == arm))
        exploration = policy.exploration
        explored = exploration is not None and share_of(exploration.salt, one["entity"]) < exploration.share
        share = 0.0 if exploration is None else exploration.share
        assert (says["explored"], says["propensity"]) == (explored, share if explored else 1 - share)
        decision = "block" if one["score"] >= 0.5 else "pass"
        assert one["decision"] == ("pass" if explored else decision)
        assert one["score"] == pytest.approx(score_of(int(one["model_version"]), one["vector"]), abs=1e-5)
        expected_shadows[place] = published.shadows
    shadows = defaultdict(list)
    for one in shadow_predictions(bench):
        shadows[one["features_partition"], one["features_offset"]].append(int(one["model_version"]))
        assert one["rollout"]["arm"] == "shadow"
        assert one["score"] == pytest.approx(score_of(int(one["model_version"]), one["vector"]), abs=1e-5)
    assert {place: tuple(sorted(found)) for place, found in shadows.items()} == {
        place: versions for place, versions in expected_shadows.items() if versions
    }
    return under


def wait_until_followed(bench: ScorerBench, published: PublishedPolicy) -> None:
    """Until each partition has taken the policy up; there must be traffic."""
    wait_for(
        lambda: {m.partition for m in markers_of(bench) if m.policy == published.hash} == set(range(PARTITIONS)),
        60,
        f"the scorers to take up policy {published.version}",
    )


def test_each_event_is_scored_by_the_arm_of_its_entity_under_the_policy_that_the_log_names(bench: ManyEntities) -> None:
    bench.feed(300)
    with bench.scoring("0", *EAGER):
        bench.wait_until_drained()
        policies = []
        with feeding(bench):
            for weight in (0.0, 0.2, 0.5):
                policies.append(apply(bench, canary(bench, shadow=(3,)), weight))
                wait_until_followed(bench, policies[-1])
        assert_exactly_once(bench)
    under = assert_by_policy(bench, policies)
    assert under[None] >= 300
    assert all(under[published.hash] for published in policies)
    project, run = open_project(bench.reference), recorded_rollout(bench)
    found = check_rollout(project.plan, run)
    assert found.examples == []
    sabotaged = 0
    for mutant in (each for each in ROLLOUT_MUTANTS if "rollout_mismatches" in each.found_by):
        with contextlib.suppress(NothingToChangeError):
            assert check_rollout(project.plan, mutant.change(project, run)).mismatches, f"{mutant.name} is not found"
            sabotaged += 1
    assert sabotaged >= 15


def test_a_policy_that_returns_is_the_same_for_each_entity(bench: ManyEntities) -> None:
    first = apply(bench, canary(bench), 0.2)
    with bench.scoring("0", *EAGER):
        bench.feed(600)
        bench.wait_until_drained()
        wider = apply(bench, canary(bench), 0.5)
        with feeding(bench):
            wait_until_followed(bench, wider)
        bench.wait_until_drained()
        again = apply(bench, canary(bench), 0.2)
        with feeding(bench):
            wait_for(lambda: markers_of(bench)[-1].policy == again.hash, 60, "the first policy to return")
        assert_exactly_once(bench)
    assert again == first
    arms = {policy: {} for policy in (first.version, wider.version)}
    for one in bench.predictions():
        arms[one["rollout"]["policy"]].setdefault(one["entity"], one["rollout"]["arm"])
    for entity, arm in arms[first.version].items():
        assert arm == "present" or arms[wider.version].get(entity, arm) == "next"


def test_killed_at_any_point_of_a_transaction_while_policies_change_predictions_are_by_the_log(
    bench: ManyEntities,
) -> None:
    bench.feed(6_000)
    bench.flush()
    policies = [apply(bench, canary(bench), 0.0)]
    for number, point in enumerate(POINTS):
        doomed = bench.start("0", *EAGER, module=("tests.scoring.crashing_scorer", point, "2"))
        assert doomed.process.wait(60) == -signal.SIGKILL, doomed.log()
        policies.append(apply(bench, canary(bench), 0.2 + number / 100))
    with bench.scoring("0", *EAGER):
        assert_exactly_once(bench)
    assert assert_by_policy(bench, policies)[policies[-1].hash] > 0


def test_while_scorers_are_killed_and_policies_change_predictions_are_by_the_log(bench: ManyEntities) -> None:
    rng, policies = random.Random(5), []
    with feeding(bench):
        for round_ in range(4):
            first, second = bench.start("a", *EAGER), bench.start("b", *EAGER)
            second.wait_for_log("assigned features")
            policies.append(apply(bench, canary(bench, shadow=(3,)), rng.choice((0.0, 0.1, 0.5)) + round_ / 1_000))
            time.sleep(rng.uniform(0.0, 1.5))
            for process in (first, second):
                process.kill()
    with bench.scoring("c", *EAGER):
        assert_exactly_once(bench)
    assert_by_policy(bench, policies)


def test_while_kafka_is_away_for_longer_than_a_session_as_the_policy_changes_predictions_are_by_the_log(
    bench: ManyEntities, stack: Stack
) -> None:
    with bench.scoring("0", *EAGER) as process:
        with feeding(bench):
            policies = [apply(bench, canary(bench, shadow=(3,)), 0.0)]
            wait_until_followed(bench, policies[-1])
            policies.append(apply(bench, canary(bench, shadow=(3,)), 0.5))
            stack.stop("kafka")
            time.sleep(12)  # longer than the session of the scorer, which waits in a transaction meanwhile
            stack.start("kafka")
            wait_until_followed(bench, policies[-1])
        assert_exactly_once(bench)
        assert process.process.poll() is None
    assert assert_by_policy(bench, policies)[policies[-1].hash] > 0


def test_where_the_candidate_has_no_number_the_champion_scores(bench: ManyEntities) -> None:
    """The candidate answers NaN where the amount is below zero, the champion does not."""
    add_model(bench.pipeline, bench.settings, scores_all=True)
    load(bench, 4, 2)
    published = apply(bench, canary(bench, arms=(Arm(name="present", version=4, role="champion"), CANDIDATE)), 0.5)
    negative = [(partition, 50_000 + number) for number in range(100) for partition in range(PARTITIONS)]
    with bench.scoring("0", *EAGER):
        bench.feed(300)
        for place in negative:
            bench.emit(*place, event={"amount": -1.0})
            bench.sent.append(place)
        assert_exactly_once(bench)
    for one in bench.predictions():
        arm, is_negative = arm_of(published, one["entity"]), one["source"]["offset"] >= 50_000
        assert one["rollout"]["arm"] == arm
        by_champion = arm == "present" or is_negative
        assert one["model_version"] == ("4" if by_champion else "2")
        assert one["route"] == ("fallback" if arm == "next" and is_negative else "primary")
    assert bench.dead_letters() == []


def test_a_policy_that_cannot_be_followed_is_refused_in_the_log_and_the_one_before_goes_on(bench: ManyEntities) -> None:
    good = apply(bench, canary(bench), 0.2)
    with bench.scoring("0", *EAGER) as process, feeding(bench):
        wait_until_followed(bench, good)
        bad = apply(bench, canary(bench, arms=(CHAMPION, Arm(name="next", version=9))), 0.5)
        process.wait_for_log(f"policy {bad.version} cannot be followed")
        wait_for(lambda: refusals_of(bench) == [("0", bad.hash)], 60, "the refusal in the log")
    with bench.scoring("1", *EAGER):  # a scorer that starts while the policy is bad
        bench.feed(300)
        assert_exactly_once(bench)
    assert set(assert_by_policy(bench, [good])) <= {None, good.hash}


def test_a_scorer_that_starts_at_garbage_goes_on_by_the_log_until_a_writer_repairs_it(bench: ManyEntities) -> None:
    kafka, pipeline = bench.settings.kafka.access, bench.pipeline
    good = apply(bench, canary(bench), 0.2)
    garbage = Producer(kafka.client())
    garbage.produce(pipeline.rollout_topic, b"{", pipeline.name.encode())
    assert garbage.flush(10) == 0
    with bench.scoring("0", *EAGER) as process:
        with feeding(bench):
            process.wait_for_log(f"going on with policy {good.version}, the log's last one")
            wait_until_followed(bench, good)
            with pytest.raises(UnreadablePolicyError):
                read_policy(kafka, pipeline)
            repaired = apply(bench, canary(bench), 0.5, repairs=True)
            wait_until_followed(bench, repaired)
        assert_exactly_once(bench)
    assert {*assert_by_policy(bench, [good, repaired])} == {good.hash, repaired.hash}
    assert read_policy(kafka, pipeline) == changes_of(bench)[-1]


def changes_of(bench: ScorerBench) -> list[PolicyChange]:
    entries = [logged.entry for logged in read_log(bench.settings.kafka.access, bench.pipeline)]
    return [entry for entry in entries if isinstance(entry, PolicyChange)]


def refusals_of(bench: ScorerBench) -> list[tuple[str, str]]:
    entries = [logged.entry for logged in read_log(bench.settings.kafka.access, bench.pipeline)]
    return [(entry.instance, entry.policy) for entry in entries if isinstance(entry, Refusal)]


def test_the_version_that_was_loaded_scores_until_there_is_a_policy(bench: ManyEntities) -> None:
    load_model(bench.pipeline, bench.settings)
    with bench.scoring():
        bench.feed(30)
        assert_exactly_once(bench)
    assert {(one["model_version"], one["rollout"] is None) for one in bench.predictions()} == {("3", True)}
    assert list(read_topic(bench.settings.kafka.access, bench.pipeline.rollout_log_topic)) == []
