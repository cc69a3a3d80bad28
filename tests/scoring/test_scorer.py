"""The scorer on a Kafka in memory: one answer to each event, by the policy that the log names for its offset."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.errors import PenstockError
from penstock.kafka.records import Produced
from penstock.kafka.transactions import InstanceFencedError, TransactionAbortedError
from scoring.lineup import LineUp
from scoring.other_views import OtherViews
from scoring.rollout.policy_log import Marker, Refusal, decode
from scoring.rollout.policy_store import log_record
from scoring.scorer import Scorer
from scoring.scorer_components import BatchLimits, ScorerComponents
from scoring.scorer_metrics import ScorerMetrics
from tests.scoring.fake_server import FakeServer
from tests.scoring.kafka_in_memory import PARTITIONS, Kafka, Killed
from tests.scoring.line_ups import NOW, Bench, ab, decoded
from tests.scoring.rollout.naive_log import effective
from tests.scoring.scorer_bench import define

LARGEST_BATCH = 4
NUMBERLESS = 7.0
POLICIES = [None, ab(1.0), ab(0.5, 0.5, shadow=(3,)), ab(0.4, 0.6), ab(0.5, 0.5)]


class FakeLineUps:
    """Who scores, as tests set it, and which policies are refused."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.refused: list[str] = []
        self.awaited: list[str] = []
        self.on_await: Callable[[], object] = lambda: None
        self.follow(0)

    def follow(self, number: int) -> None:
        """Score with one of the :data:`POLICIES` from the next batch on. Each version is on a server of its own."""
        published = POLICIES[number]
        arms = 1 if published is None else len(published.policy.arms)
        # Version 1 has no number for some events, the others have.
        seats = [
            self._bench.seat(version, FakeServer(numberless=(NUMBERLESS,) if version == 1 else ()))
            for version in range(1, arms + 1)
        ]
        shadows = [self._bench.shadow(3)] if published is not None and published.shadows else []
        self._line_up = LineUp(published, seats, shadows, clock=lambda: 0.0)

    def latest(self) -> LineUp:
        return self._line_up

    def refusals(self, now: int) -> list[Produced]:
        refused, self.refused = self.refused, []
        return [
            log_record(self._bench.pipeline, Refusal(instance="0", policy=policy, reason="no", time_ms=now), now)
            for policy in refused
        ]

    def await_policy(self, policy: str) -> None:
        self.awaited.append(policy)
        self.on_await()

    def marker(self, partition: int, offset: int, policy: str, now: int) -> Produced:
        marker = Marker(partition=partition, first_offset=offset, policy=policy)
        return log_record(self._bench.pipeline, marker, now)


class Ignored:
    """Takes every call."""

    def __getattr__(self, name: str) -> Callable[..., dict[object, object]]:
        return lambda *_, **__: {}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(define(tmp_path_factory.mktemp("pipeline"), "scorer", partitions=PARTITIONS)[1])


class Rig:
    """A scorer that can be started again, and who scores."""

    def __init__(self, bench: Bench) -> None:
        self.kafka, self.line_ups = Kafka(bench), FakeLineUps(bench)
        self.bench, self.registry = bench, CollectorRegistry()

    def run(self) -> None:
        """Score until all is committed, in spite of whatever fails."""
        while not self.kafka.is_done():
            try:
                self.start()
            except Killed:
                continue

    def start(self) -> None:
        self.registry = CollectorRegistry()
        kafka: Any = self.kafka
        ignored: Any = Ignored()
        components = ScorerComponents(
            new_consumer=lambda: kafka,
            producer=kafka,
            history=kafka,
            line_ups=self.line_ups,
            other_views=OtherViews((), (), (), None, clock=lambda: 0.0),  # type: ignore[arg-type]
            reader=self.bench.reader,
            metrics=ScorerMetrics(self.registry, "taps", LARGEST_BATCH),
            watch=ignored,
            resets=ignored,
        )
        pipeline = self.bench.pipeline
        Scorer(
            pipeline.features_topic,
            pipeline.source.topic,
            components,
            BatchLimits(LARGEST_BATCH, 0.0),
            now=lambda: NOW,
            wait=lambda _: None,
            stopping=kafka.is_done,
        ).run()

    def of(self, topic: str) -> list[Produced]:
        return [record for record in self.kafka.written if record.topic == topic]

    def log(self) -> list[Any]:
        return [decode(record.value or b"", "") for record in self.of(self.bench.pipeline.rollout_log_topic)]

    def markers(self) -> list[Marker]:
        return [entry for entry in self.log() if isinstance(entry, Marker)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.lists(st.sampled_from([0.25, 0.75, NUMBERLESS]), min_size=1, max_size=6)),
        # A scorer that has no policy may take over what one has scored that has one.
        st.tuples(st.just("follow"), st.integers(0, len(POLICIES) - 1)),
        st.tuples(st.just("again"), st.integers(0, 40)),
        st.tuples(
            st.just("fail"),
            st.sampled_from(
                ["abort, lost", "fenced, lost", "unknown, lost", "unknown, written", "killed, lost", "killed, written"]
            ),
        ),
        st.tuples(st.just("fence"), st.none()),
    ),
    min_size=3,
    max_size=25,
)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(steps)
def test_whatever_fails_while_policies_change_each_event_has_one_answer_by_the_policy_of_its_offset(bench, script):
    rig = Rig(bench)
    kafka = rig.kafka
    rig.line_ups.on_await = lambda: rig.line_ups.follow(1)

    def act(kind: str, what: Any) -> None:
        if kind == "feed":
            kafka.feed(*what)
        elif kind == "follow":
            rig.line_ups.follow(what)
        elif kind == "again":  # the job emits features again
            everything = [record for records in kafka.features.values() for record in records]
            kafka.emit(everything[what % len(everything)])
        elif kind == "fence":  # Kafka was away for longer than the session
            kafka.fence(lost_before=True)
        elif kind == "fail":
            kafka.failures.append(what)

    kafka.script = [lambda each=each: act(*each) for each in [("feed", [0.25]), *script]]
    rig.run()
    live = decoded(rig.of(bench.pipeline.predictions_topic))
    letters = rig.of(f"{bench.pipeline.predictions_topic}.dlq")
    answered = [one["source"]["offset"] for one in live]
    answered += [int(dict(letter.headers)["penstock.source.offset"] or b"") for letter in letters]
    assert sorted(answered) == list(range(kafka.taps))
    known = {published.hash: published for published in POLICIES if published is not None}
    markers, places = rig.markers(), {}
    for one in live:
        place = one["features_partition"], one["features_offset"]
        policy = effective(markers, *place)
        assert (one["rollout"] and one["rollout"]["policy"]) == (policy and policy[:12])
        if policy is not None and known[policy].shadows:
            places[place] = policy[:12]
    # Each event that has a prediction has one of each shadow version of its policy, and no other has.
    shadows = decoded(rig.of(bench.pipeline.shadow_topic))
    found = [((one["features_partition"], one["features_offset"]), one["rollout"]["policy"]) for one in shadows]
    assert sorted(found) == sorted(places.items())


def test_a_partition_takes_a_policy_up_with_its_first_newly_scored_event_and_once(bench):
    rig = Rig(bench)
    rig.kafka.feed(*[0.25] * 4)
    rig.run()
    assert rig.log() == []
    rig.line_ups.follow(1)
    rig.kafka.emit(rig.kafka.features[0][0])
    rig.run()
    assert rig.log() == []  # nothing was newly scored
    rig.kafka.feed(*[0.25] * 20)
    rig.run()
    first = POLICIES[1]
    assert first is not None
    assert sorted((one.partition, one.first_offset, one.policy) for one in rig.markers()) == [
        (0, 3, first.hash),
        (1, 2, first.hash),
    ]


@pytest.mark.parametrize("failure", ["abort, lost", "unknown, lost", "killed, lost"])
def test_the_marker_of_a_transaction_that_failed_is_written_again(bench, failure):
    rig = Rig(bench)
    rig.line_ups.follow(1)
    rig.kafka.failures = [failure] * 2
    rig.kafka.feed(0.25)
    rig.run()
    assert [(one.partition, one.first_offset) for one in rig.markers()] == [(0, 0)]


def test_a_scorer_that_starts_again_knows_which_policy_a_partition_has_taken_up(bench):
    rig = Rig(bench)
    rig.line_ups.follow(1)
    rig.kafka.failures = ["killed, written"]
    rig.kafka.feed(0.25)
    rig.run()
    rig.kafka.feed(0.25, 0.25)
    rig.run()
    assert sorted((one.partition, one.first_offset) for one in rig.markers()) == [(0, 0), (1, 0)]


def test_a_scorer_without_a_policy_scores_nothing_on_a_partition_that_is_under_one(bench):
    rig = Rig(bench)
    rig.line_ups.follow(1)
    rig.kafka.feed(0.25)
    rig.run()
    rig.line_ups.follow(0)
    rig.line_ups.on_await = lambda: rig.line_ups.follow(1 if len(rig.line_ups.awaited) == 3 else 0)
    rig.kafka.feed(0.25, 0.25)
    rig.run()
    first = POLICIES[1]
    assert first is not None
    assert rig.line_ups.awaited == [first.hash] * 3
    predictions = decoded(rig.of(bench.pipeline.predictions_topic))
    assert [one["rollout"] and one["rollout"]["policy"] for one in predictions] == [first.version] * 3


def test_a_scorer_that_can_follow_no_policy_ends_where_a_partition_is_under_one(bench):
    rig = Rig(bench)
    rig.line_ups.follow(1)
    rig.kafka.feed(0.25)
    rig.run()

    def refuse() -> None:
        raise PenstockError("it can follow none")

    rig.line_ups.follow(0)
    rig.line_ups.on_await = refuse
    rig.kafka.feed(*[0.25] * 4)
    with pytest.raises(PenstockError, match="it can follow none"):
        rig.run()
    assert len(rig.of(bench.pipeline.predictions_topic)) == 1


def test_a_partition_whose_offset_was_committed_without_a_note_takes_the_policy_up_again(bench):
    rig = Rig(bench)
    rig.line_ups.follow(1)
    rig.kafka.feed(0.25)
    rig.run()
    rig.kafka.offsets[0] = 1, ""
    rig.kafka.feed(0.25, 0.25)
    rig.run()
    assert [one.first_offset for one in rig.markers() if one.partition == 0] == [0, 1]


def test_a_scorer_that_is_fenced_because_it_lost_its_membership_joins_again(bench):
    rig = Rig(bench)
    kafka = rig.kafka
    kafka.script = [lambda: kafka.feed(0.25), lambda: kafka.fence(lost_before=True), lambda: kafka.feed(0.25)]
    rig.start()
    assert kafka.joined == 2
    assert len(rig.of(bench.pipeline.predictions_topic)) == 2


def test_a_scorer_that_another_process_has_replaced_ends(bench):
    rig = Rig(bench)
    kafka = rig.kafka
    lost_long_ago = [lambda: kafka.fence(lost_before=True), lambda: kafka.feed(0.25)]
    kafka.script = [*lost_long_ago, lambda: kafka.fence(lost_before=False), lambda: kafka.feed(0.25)]
    with pytest.raises(InstanceFencedError, match="another process of the same instance"):
        rig.start()
    assert kafka.joined == 2


@pytest.mark.parametrize("failures", [[], ["abort, lost"], ["abort, lost"] * 3, ["unknown, lost"]])
def test_each_refusal_is_written_once_whatever_fails(bench, failures):
    rig = Rig(bench)
    kafka, line_ups = rig.kafka, rig.line_ups
    kafka.failures = failures
    kafka.script = [
        lambda: line_ups.refused.append("1f" * 32),
        lambda: kafka.feed(*[0.25] * 3),
        lambda: line_ups.refused.append("2f" * 32),
        lambda: kafka.feed(*[0.25] * 30),
    ]
    rig.run()
    refused = Counter(entry.policy for entry in rig.log() if isinstance(entry, Refusal))
    assert refused == {"1f" * 32: 1, "2f" * 32: 1}


def test_a_refusal_that_waits_behind_a_transaction_that_fails_is_written_once(bench):
    rig = Rig(bench)
    kafka, fails = rig.kafka, threading.Event()
    write = kafka.write

    def fail(*_: object) -> None:
        kafka.write = write
        fails.wait()
        raise TransactionAbortedError("late")

    def refuse() -> None:
        rig.line_ups.refused.append("1f" * 32)
        kafka.taps += 1  # an event of the same partition: of another one, all must be committed before
        kafka.feed(0.25)

    kafka.write = fail
    kafka.script = [lambda: kafka.feed(0.25), refuse, fails.set]
    rig.run()
    assert [entry.policy for entry in rig.log()] == ["1f" * 32]


def test_predictions_of_a_partition_are_in_the_order_of_its_records(bench):
    rig = Rig(bench)
    rig.line_ups.follow(2)
    rig.kafka.feed(*[0.25, NUMBERLESS, 0.75] * 10)
    rig.run()
    for topic in (bench.pipeline.predictions_topic, bench.pipeline.shadow_topic):
        for partition in range(PARTITIONS):
            found = [one for one in decoded(rig.of(topic)) if one["features_partition"] == partition]
            offsets = [one["features_offset"] for one in found]
            assert offsets == sorted(offsets)
            assert len(offsets) > 10


def versions_shown(rig: Rig) -> set[str]:
    samples = [sample for family in rig.registry.collect() for sample in family.samples]
    return {sample.labels["version"] for sample in samples if sample.name == "penstock_scorer_model_info"}


def test_a_scorer_follows_a_policy_while_it_runs_and_its_metrics_show_who_scores(bench):
    rig = Rig(bench)
    shown = []
    rig.kafka.script = [
        lambda: rig.kafka.feed(0.25),
        lambda: shown.append(versions_shown(rig)),
        lambda: rig.line_ups.follow(3),
        lambda: rig.kafka.feed(0.25),
        lambda: shown.append(versions_shown(rig)),
    ]
    rig.run()
    second = POLICIES[3]
    assert second is not None
    policies = [
        one["rollout"] and one["rollout"]["policy"] for one in decoded(rig.of(bench.pipeline.predictions_topic))
    ]
    assert policies == [None, second.version]
    assert shown == [{"1"}, {"1", "2"}]
