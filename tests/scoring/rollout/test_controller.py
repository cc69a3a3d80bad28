"""The controller over a Kafka in memory: whatever happens, it counts each record once, and publishes what follows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.errors import PenstockError
from penstock.kafka.membership import MembershipLostError
from penstock.kafka.retention import GapPolicy
from penstock.kafka.transactions import InstanceFencedError
from scoring.rollout import transitions
from scoring.rollout.collecting import event_hashes
from scoring.rollout.controller import Controller, ControllerComponents
from scoring.rollout.controller_input import InputReader
from scoring.rollout.controller_metrics import ControllerMetrics
from scoring.rollout.facts import Facts
from scoring.rollout.judge import Judge
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from scoring.rollout.seen import Seen
from scoring.rollout.transitions import By
from streams.definitions.rollout import Rollout
from tests.scoring.rollout.fake_kafka import (
    FakeConsumer,
    FakeCuts,
    FakeKafka,
    FakePositions,
    FakeStore,
    FencedConsumer,
    Killed,
)
from tests.scoring.rollout.rollout_records import (
    BEGIN_MS,
    Records,
    canary,
    change_to,
    define_rollout,
    event_of,
    seen_at_once,
    without_places,
)

PARTITIONS = 2
# Of the candidate, everything fails.
BAD, GOOD = {"route": "fallback"}, {"route": "primary"}


class World:
    """A pipeline, its records, and processes that watch them one after the other."""

    def __init__(self, folder: Any, *weights: float, declared: str = "", **options: Any) -> None:
        self.project = define_rollout(folder, "unit", PARTITIONS, "most_entities=1_000", declared)
        self.kafka = FakeKafka(self.project.pipeline)
        self.change = change_to(canary(self.project, *(weights or (0.5, 1)), **options))
        self.records = Records(self.project, self.change, PARTITIONS)
        self.facts = Facts.of(self.project.pipeline)
        self.made: list[int] = []
        self.impossible: dict[int, str] = {}
        self.lag: list[dict] = []

    def add(self, numbers: range, candidate: dict[str, Any] = GOOD, *, labels: bool = True) -> None:
        """Events that were scored under the policy."""
        for number in numbers:
            partition, _ = self.records.place(number)
            changes = candidate if self.records.arm(number).name == "next" else GOOD
            self.kafka.add(self.kafka.live, self.records.live(number, **changes), partition)
            if labels:
                self.kafka.add(self.kafka.labels, self.records.label(number, float(number % 3 == 0)), partition)

    def run(self, *, steps: int = 30, most: int = 60, on_step: Any = None, **overrides: Any) -> ControllerMetrics:
        """Run a process for so many polls, or until it is killed."""
        kafka, clock, left = self.kafka, _Clock(), [steps]
        metrics = ControllerMetrics(CollectorRegistry(), self.project.name, [*kafka.partitions])
        self.store = FakeStore(kafka)
        watch = SimpleNamespace(
            started=lambda: None, assigned=lambda _p: None, revoked=lambda _p: None, done=self.lag.append
        )
        components = {
            "consumer": FakeConsumer(kafka, most),
            "store": self.store,
            "positions": FakePositions(kafka),
            "judge": Judge(self.facts),
            "reader": InputReader(self.project, self.facts),
            "cuts": FakeCuts(kafka),
            "promotions": SimpleNamespace(
                advance=lambda version: self.made.append(version) or len(self.made) > 1,
                why_not=self.impossible.get,
            ),
            "metrics": metrics,
            "watch": watch,
            "gaps": GapPolicy(self.project.name, "rollout", tuple(kafka.partitions), "", "", skip=True),
            **overrides,
        }

        def stopping() -> bool:
            if on_step is not None:
                on_step(steps - left[0])
            left[0] -= 1
            clock.now += 0.1
            return left[0] < 0

        controller = Controller(
            kafka.log,
            (kafka.labels,),
            kafka.partitions,
            ControllerComponents(**components),
            now=lambda: BEGIN_MS + int(clock.now * 1000),
            clock=clock,
            wait=lambda _s: None,
            stopping=stopping,
        )
        controller.run()
        return metrics

    def survive(self, **options: Any) -> ControllerMetrics:
        """Run processes until all has happened that was to happen, and all is read."""
        for _ in range(50):
            try:
                metrics = self.run(**options)
            except Killed:
                continue
            if not self.kafka.outcomes and self.kafka.committed == self.kafka.ends:
                return metrics
        raise AssertionError("it does not come to an end")

    def seen(self) -> JudgeState:
        """What is saved."""
        return JudgeState.load(self.kafka.state)

    def expected(self, numbers: range, candidate: dict[str, Any] = GOOD, *, labels: bool = True) -> dict[str, bytes]:
        """What a judge has seen that was told of all these events at once."""
        changes = {number: candidate if self.records.arm(number).name == "next" else GOOD for number in numbers}
        state = seen_at_once(
            self.project,
            self.change,
            live=[self.records.live(number, **changes[number]) for number in numbers],
            labels=[self.records.label(number, float(number % 3 == 0)) for number in numbers if labels],
        )
        return without_places(state.records())


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, least_events=1_000_000)


def decisions(metrics: ControllerMetrics) -> dict[str, float]:
    (family,) = metrics._decisions.collect()
    return {s.labels["decision"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}


def test_everything_is_read_once_and_saved_with_its_offsets(world):
    world.kafka.publish(world.change)
    world.add(range(200))
    world.run()
    assert without_places(world.kafka.state) == world.expected(range(200))
    assert world.kafka.committed == world.kafka.ends
    assert world.kafka.note.change == world.change
    assert not world.kafka.note.ahead
    assert world.lag[-1][world.kafka.log, 0] == 1


def test_it_begins_once_and_reads_nothing_before(world):
    consumer = FakeConsumer(world.kafka, 60)
    world.kafka.publish(world.change)
    world.run(consumer=consumer)
    before, after = consumer.assigned
    assert before == dict.fromkeys(world.kafka.topics, OFFSET_END)
    assert after == dict.fromkeys(world.kafka.topics, 0)


def test_the_judge_learns_up_to_where_all_answers_are_read(world):
    world.kafka.publish(world.change)
    world.add(range(200))
    world.run()
    assert world.seen().complete == {0: 100, 1: 100}


OUTCOMES = st.lists(
    st.sampled_from(["written", "aborted", "fenced", "unknown", "unknown_written", "killed", "killed_after"]),
    max_size=6,
)


@settings(max_examples=8, deadline=None)
@given(outcomes=OUTCOMES, most=st.integers(40, 300))
def test_whatever_happens_to_transactions_every_record_counts_once(tmp_path_factory, outcomes, most):
    world = World(tmp_path_factory.mktemp("world"), least_events=1_000_000)
    world.kafka.publish(world.change)
    world.add(range(60))
    world.kafka.outcomes = outcomes[:3]
    world.survive(steps=16, most=most)
    world.add(range(60, 120))
    world.kafka.outcomes = outcomes[3:]
    world.survive(steps=16, most=most)
    assert without_places(world.kafka.state) == world.expected(range(120))


@settings(max_examples=4, deadline=None)
@given(outcomes=OUTCOMES, most=st.integers(40, 300))
def test_whatever_happens_an_event_is_judged_by_the_label_that_it_had_when_it_was_old_enough(
    tmp_path_factory, outcomes, most
):
    declared = 'horizon="1m", absent="negative"'
    world = World(tmp_path_factory.mktemp("world"), declared=declared, least_events=1_000_000)
    world.kafka.publish(world.change)
    for batch in (range(60), range(60, 120)):
        world.add(batch, labels=False)
        for number in batch:
            # One in three is positive, but two in nine are taken back, one of them too late.
            said = [(1.0, 20_000), (None, 60_000 + number % 9)] if number % 9 in (0, 3) else [(1.0, 60_000)]
            for value, age_ms in said if number % 3 == 0 else []:
                received = BEGIN_MS + 2_000 * number + age_ms
                label = world.records.label(number, value, age_ms)
                world.kafka.add(world.kafka.labels, label, number % PARTITIONS, timestamp_ms=received)
        world.kafka.outcomes = outcomes[batch.start // 20 : batch.start // 20 + 3]
        world.survive(steps=16, most=most)
    state = world.seen()
    seen = Seen(state, world.facts)
    found = dict(zip(state.entities.rows["event"].tolist(), seen.label.tolist(), strict=True))
    judged = state.entities.rows["event"][seen.is_judged_by_label].tolist()
    expected = {number: float(number % 3 == 0 and number % 9 != 0) for number in range(120 - 30)}
    hashes = dict(zip(expected, event_hashes([event_of(number) for number in expected]).tolist(), strict=True))
    assert {number: found.get(of) for number, of in hashes.items()} == expected
    assert sorted(judged) == sorted(hashes.values())


@settings(max_examples=15, deadline=None)
@given(outcomes=OUTCOMES, most=st.integers(20, 300))
def test_whatever_happens_a_bad_candidate_is_rolled_back_once(tmp_path_factory, outcomes, most):
    world = World(tmp_path_factory.mktemp("world"))
    world.kafka.publish(world.change)
    world.add(range(300), BAD)
    world.kafka.outcomes = [*outcomes]
    world.survive(most=most)
    first, last = world.kafka.changes
    assert (first, last) == (world.change, world.kafka.policy)
    assert (last.status, last.author, last.previous) == ("ended", "controller", world.change.policy.hash)
    assert last.policy.policy.champion.version == 1


def test_a_decision_is_published_with_the_state_that_begins_and_the_offsets_that_it_rests_on(world, tmp_path):
    world.kafka.publish(world.change)
    world.add(range(300), BAD)
    metrics = world.run()
    assert decisions(metrics) == {"rolled_back": 1}
    assert world.kafka.state == {}  # nothing is judged any more
    assert world.kafka.note.change == world.kafka.policy


def test_a_decision_whose_outcome_was_unknown_at_first_is_counted(world):
    world.kafka.publish(world.change)
    world.add(range(300), BAD)
    world.kafka.outcomes = ["unknown_written"]
    assert decisions(world.run(most=1_000)) == {"rolled_back": 1}
    assert len(world.kafka.changes) == 2


def test_a_policy_that_somebody_publishes_before_a_decision_is_written_is_not_replaced(world):
    world.kafka.publish(world.change)
    world.add(range(300), BAD)
    by_ada = transitions.rolled_back(world.change, By("ada", "enough", BEGIN_MS), ())
    judge = Judge(world.facts)

    class Slow(Judge):
        def decide(self, state, change, now_ms):
            decided = judge.decide(state, change, now_ms)
            if decided is not None:
                world.kafka.publish(by_ada)
            return decided

    metrics = world.run(judge=Slow(world.facts))
    assert world.kafka.changes == [world.change, by_ada]
    assert world.kafka.policy == by_ada
    assert decisions(metrics) == {}


def test_after_a_long_absence_everything_is_read_before_a_step_is_paused_or_passed(tmp_path, monkeypatch):
    world = World(tmp_path, 0.5, 1, least_events=100)
    monkeypatch.setattr(Rollout, "judged", {})
    world.kafka.publish(world.change.model_copy(update={"time_ms": BEGIN_MS - 8 * 86_400_000}))
    world.add(range(300), BAD)
    metrics = world.run(most=20, steps=80)
    assert decisions(metrics) == {"next_step": 1}
    state = world.kafka.policy.evidence["versions"]
    assert state == [{"version": 2, "events": sum(world.records.arm(n).name == "next" for n in range(300))}]


def test_while_it_is_paused_a_bad_candidate_is_still_rolled_back(world):
    paused = world.change.model_copy(update={"status": "paused", "previous": world.change.policy.hash})
    world.kafka.publish(world.change)
    world.kafka.publish(paused)
    world.add(range(300), BAD)
    world.run()
    assert [change.status for change in world.kafka.changes] == ["running", "paused", "ended"]


def test_all_records_under_a_new_policy_count_however_late_the_controller_learns_of_it(world):
    world.kafka.publish(world.change)
    following = change_to(canary(world.project, 0.2, 1, least_events=1_000_000), world.change)

    def publish(step: int) -> None:
        if step == 10:
            world.kafka.publish(following)
            world.kafka.add(world.kafka.log, b"{}")
            world.records.change = world.change = following
            world.add(range(40, 140), labels=False)

    world.add(range(40), labels=False)
    world.run(on_step=publish)
    assert world.kafka.note.change == following
    assert without_places(world.kafka.state) == world.expected(range(40, 140), labels=False)


def test_policies_that_were_replaced_while_it_was_down_are_passed_over(world):
    world.kafka.publish(world.change)
    for weight in (0.1, 0.2, 0.3):
        world.change = change_to(canary(world.project, weight, 1, least_events=1_000_000), world.change)
        world.kafka.publish(world.change)
    world.records.change = world.change
    world.add(range(100))
    world.run()
    assert world.store.starts == 1
    assert without_places(world.kafka.state) == world.expected(range(100))


def test_without_a_policy_and_after_a_rollout_it_reads_and_discards(world):
    world.add(range(50))
    world.run()
    assert (world.kafka.state, world.kafka.note.change) == ({}, None)
    world.kafka.publish(world.change.model_copy(update={"status": "ended"}))
    world.add(range(50, 100))
    world.run()
    assert world.kafka.state == {}
    assert world.kafka.committed == world.kafka.ends


def test_a_first_policy_is_judged_as_soon_as_it_is_published(world):
    def publish(step: int) -> None:
        if step == 10:
            world.kafka.publish(world.change)
            world.add(range(100))

    world.run(on_step=publish)
    assert without_places(world.kafka.state) == world.expected(range(100))


def test_a_refusal_by_a_scorer_ends_the_rollout(world):
    world.kafka.publish(world.change)
    world.kafka.tell(Marker(partition=0, first_offset=0, policy=world.change.policy.hash))
    world.kafka.tell(Refusal(instance="0", policy=world.change.policy.hash, reason="no such version", time_ms=BEGIN_MS))
    world.run()
    assert "no such version" in world.kafka.policy.reason
    assert world.kafka.policy.status == "ended"


class Deciding(Judge):
    """Decides this at once."""

    def __init__(self, facts: Facts, decided: PolicyChange) -> None:
        super().__init__(facts)
        self._decided = decided

    def decide(self, _state: JudgeState, _change: PolicyChange, _now_ms: int) -> PolicyChange:
        return self._decided


def test_a_promoted_version_is_made_current_until_that_has_worked(world):
    world.kafka.publish(world.change)
    promoted = transitions.promoted(world.change, By("controller", "good", BEGIN_MS), "next")
    metrics = world.run(judge=Deciding(world.facts, promoted))
    assert decisions(metrics) == {"promoted": 1}
    assert world.made == [2, 2]
    assert world.kafka.note.promoted is None


def test_a_version_that_is_gone_is_not_promoted_but_paused_with_what_was_seen(world):
    world.kafka.publish(world.change)
    world.impossible[2] = "model taps has no version 2"
    promoted = transitions.promoted(world.change, By("controller", "promoted after all", BEGIN_MS), "next")
    promoted = promoted.model_copy(update={"evidence": {"versions": []}})
    metrics = world.run(judge=Deciding(world.facts, promoted), steps=8)
    paused = world.kafka.policy
    assert (paused.status, paused.policy, paused.step) == ("paused", world.change.policy, world.change.step)
    assert (paused.author, paused.evidence) == ("controller", promoted.evidence)
    assert paused.reason == ("paused instead of promoted: model taps has no version 2; it was to be promoted after all")
    assert decisions(metrics)["paused"] >= 1
    assert world.made == []


def test_a_promotion_is_taken_up_by_the_next_process_unless_another_policy_has_come(world):
    world.kafka.publish(world.change)
    promoted = transitions.promoted(world.change, By("controller", "good", BEGIN_MS), "next")
    world.kafka.outcomes = ["killed_after"]
    with pytest.raises(Killed):
        world.run(judge=Deciding(world.facts, promoted))
    assert (world.made, world.kafka.note.promoted) == ([], 2)
    kept = world.kafka.note
    world.run()
    assert (world.made, world.kafka.note.promoted) == ([2, 2], None)
    world.kafka.note = kept
    world.kafka.publish(world.change.model_copy(update={"previous": promoted.policy.hash}))
    world.run()
    assert (world.made, world.kafka.note.promoted) == ([2, 2], None)


def test_what_was_deleted_unread_makes_the_step_begin_anew_behind_it(world, caplog):
    world.kafka.publish(world.change.model_copy(update={"reason": "an earlier one"}))
    world.kafka.publish(world.change)
    world.kafka.tell(Marker(partition=0, first_offset=3, policy=world.change.policy.hash))
    world.add(range(100))
    world.run()
    world.add(range(100, 200))
    world.kafka.earliest |= {(world.kafka.live, 0): 70}
    metrics = world.run(on_step=lambda step: world.add(range(200, 260)) if step == 15 else None)
    assert "Kafka deleted 20 records" in caplog.text
    assert "the present step begins anew" in caplog.text
    assert metrics._anew._value.get() == 1
    assert world.seen().markers == {0: 3}
    assert not world.kafka.note.ahead
    assert world.store.starts == 1
    expected = world.expected(range(200, 260))
    assert {k: v for k, v in without_places(world.kafka.state).items() if not k.startswith("labels")} == {
        k: v for k, v in expected.items() if not k.startswith("labels")
    }


def test_records_that_are_deleted_while_it_runs_make_the_step_begin_anew(world, caplog):
    world.kafka.publish(world.change)
    world.add(range(200))

    def delete(step: int) -> None:
        if step == 3:
            world.kafka.earliest[world.kafka.live, 1] = 100

    world.run(on_step=delete, most=10)
    assert "the present step begins anew" in caplog.text


def test_a_state_that_cannot_be_read_makes_the_step_begin_anew(world, caplog):
    world.kafka.publish(world.change)
    world.add(range(50))
    world.run()
    world.kafka.state["head"] = b"{}"
    world.run()
    assert "the present step begins anew" in caplog.text
    assert len(world.seen().calls.rows) == 0


def test_offsets_without_a_state_and_a_state_without_offsets_make_the_step_begin_anew(world, caplog):
    world.kafka.publish(world.change)
    world.add(range(50))
    world.run()
    world.kafka.note, world.kafka.state = None, {}  # the state's topic was made anew
    world.run()
    assert "begins anew: there are offsets and no state" in caplog.text
    assert len(world.seen().calls.rows) == 0
    del world.kafka.committed[world.kafka.live, 1]  # Kafka has forgotten it
    world.run()
    assert f"begins anew: no offset is committed of {world.kafka.live}[1]" in caplog.text


def test_a_definition_that_remembers_something_else_makes_the_step_begin_anew(world, caplog):
    world.kafka.publish(world.change)
    world.add(range(20))
    world.run()
    world.facts = replace(world.facts, rollout=world.facts.rollout.model_copy(update={"most_entities": 2_000}))
    world.run()
    assert "most_entities" in caplog.text
    assert len(world.seen().calls.rows) == 0


def test_a_new_policy_begins_without_the_state_of_another_release(world, caplog):
    world.kafka.publish(world.change)
    world.run()
    world.kafka.state["head"] = b"{}"
    world.kafka.publish(change_to(canary(world.project, 0.2, 1), world.change))
    world.run()
    assert "anew" not in caplog.text


def test_labels_wait_until_the_predictions_that_were_there_are_read(world):
    read = []

    class Reader(InputReader):
        def read(self, messages, versions):
            read.append({topic: len(found) for topic, found in messages.items() if found})
            return super().read(messages, versions)

    world.kafka.publish(world.change)
    world.add(range(200))
    world.run(reader=Reader(world.project, world.facts))
    labels = next(place for place, batch in enumerate(read) if world.kafka.labels in batch)
    assert sum(batch.get(world.kafka.live, 0) for batch in read[:labels]) == 200
    assert sum(batch.get(world.kafka.labels, 0) for batch in read) == 200


def test_what_cannot_be_read_is_logged_and_counted_and_passed_over(world, caplog):
    world.kafka.publish(world.change)
    for _ in range(9):
        world.kafka.add(world.kafka.live, b"garbage", 1)
    world.kafka.add(world.kafka.log, b"garbage")
    metrics = world.run()
    assert f"passed over {world.kafka.live}[1]@0" in caplog.text
    assert f"passed over {world.kafka.log}[0]@1" in caplog.text
    assert metrics._unreadable.labels(world.project.name, world.kafka.live)._value.get() == 9
    assert world.kafka.committed == world.kafka.ends


def test_a_schema_registry_that_does_not_answer_is_waited_for(world, caplog):
    class Reader(InputReader):
        failures = 2

        def read(self, messages, versions):
            if self.failures:
                self.failures -= 1
                raise PenstockError("the registry does not answer")
            return super().read(messages, versions)

    world.kafka.publish(world.change)
    world.add(range(50))
    world.run(reader=Reader(world.project, world.facts))
    assert "the registry does not answer" in caplog.text
    assert without_places(world.kafka.state) == world.expected(range(50))


def test_kafka_that_does_not_answer_at_the_start_is_waited_for(world, caplog):
    world.kafka.publish(world.change)
    world.add(range(50))

    class Positions(FakePositions):
        failures = 2

        def find(self):
            if self.failures:
                self.failures -= 1
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return super().find()

    world.run(positions=Positions(world.kafka))
    assert without_places(world.kafka.state) == world.expected(range(50))
    assert "trying again" in caplog.text


def test_another_controller_ends_this_one_with_an_error_that_says_so(world):
    world.kafka.publish(world.change)
    with pytest.raises(InstanceFencedError, match="another controller of this pipeline runs"):
        world.run(consumer=FencedConsumer(world.kafka, lost_before=False))


def test_a_controller_that_is_fenced_because_it_lost_its_membership_asks_to_join_again(world):
    world.kafka.publish(world.change)
    with pytest.raises(MembershipLostError):
        world.run(consumer=FencedConsumer(world.kafka, lost_before=True))


def test_a_fence_in_a_transaction_is_left_to_the_consumer_to_explain(world):
    world.kafka.publish(world.change)
    world.add(range(100))
    world.kafka.outcomes = ["fenced"]
    world.run()
    assert without_places(world.kafka.state) == world.expected(range(100))


def test_events_of_arms_are_counted_when_they_are_saved(world):
    world.kafka.publish(world.change)
    world.add(range(100))
    world.kafka.outcomes = ["aborted", "written", "aborted"]
    metrics = world.run()
    (family,) = metrics._events.collect()
    found = {(s.labels["arm"], s.labels["route"]): s.value for s in family.samples if s.name.endswith("_total")}
    assert found == Counter((world.records.arm(number).name, "primary") for number in range(100))
