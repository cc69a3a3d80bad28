"""The rollout controller as a process on real Kafka: each record counts once, and each decision is published once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from penstock.kafka.lag import Lag
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.rollout.controller_store import NOTE
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.policy_log import Marker, PolicyChange, encode
from scoring.rollout.policy_store import change_policy, read_policy
from scoring.rollout.transitions import By, promoted
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.version_loading import load_versions
from streams.plan.pipeline_topics import pipeline_topics
from tests.scoring.rollout.crashing_controller import POINTS
from tests.scoring.rollout.rollout_records import (
    Records,
    canary,
    change_to,
    define_rollout,
    seen_at_once,
    without_places,
)
from tests.scoring.scorer_bench import add_model, unload_model, wait_for

PARTITIONS = 2
# Whatever is not about errors is left out, and few events tell.
ONLY_ERRORS = (
    'without=("latency", "decision_rate", "quality", "calibration", "fairness", "scores", "split"), '
    'guardrails=(Guardrail(measure="errors", absolute=(0, 0.2), awaited=True),)'
)
BAD = {"route": "fallback"}


class ControllerBench:
    """One pipeline on the stack, whose records the test writes, and its controllers."""

    def __init__(self, folder: Path, suffix: str, settings: Settings) -> None:
        self.folder, self.settings, self.kafka = folder, settings, settings.kafka.access
        self.project = define_rollout(folder, suffix, PARTITIONS, ONLY_ERRORS)
        self.pipeline = self.project.pipeline
        create_topics(pipeline_topics(self.pipeline), self.kafka)
        self.records: Records | None = None
        self._expected: dict[str, list[bytes]] = {}

    def publish(self, *weights: float, **options: Any) -> PolicyChange:
        """A person publishes a canary; the records that follow are under it."""
        policy = canary(self.project, *weights, **options)
        change = change_policy(
            self.kafka, self.pipeline, lambda present: change_to(policy, present, time_ms=time.time_ns() // 1_000_000)
        )
        assert change is not None
        self.records = Records(self.project, change, PARTITIONS)
        self._expected = {"live": [], "shadow": [], "labels": []}
        return change

    def score(self, numbers: range, candidate: dict[str, Any] | None = None, *, garbage: bool = False) -> None:
        """What scorers write of these events, in one transaction; and labels, and perhaps what is no record."""
        records, pipeline = self.records, self.pipeline
        assert records is not None
        assert pipeline.labels is not None
        # Each time a new one: after a restart of the broker, an old one may wait for it for ever.
        producer = Producer({**self.kafka.client(), "transactional.id": f"test-{pipeline.name}", "linger.ms": 5})
        producer.init_transactions(60)
        producer.begin_transaction()
        for number in numbers:
            partition, _ = records.place(number)
            live = records.live(number, **(candidate or {} if records.arm(number).name == "next" else {}))
            label = records.label(number, float(number % 3 == 0))
            written = [("live", pipeline.predictions_topic, live), ("labels", pipeline.labels.topic, label)]
            if 0 in records.change.policy.weights.values():
                written.append(("shadow", pipeline.shadow_topic, records.shadow(number, 2)))
            for name, topic, value in written:
                producer.produce(topic, value, partition=partition)
                self._expected[name].append(value)
        for topic in (pipeline.predictions_topic, dead_letters_of(pipeline.predictions_topic), pipeline.labels.topic):
            if garbage:
                producer.produce(topic, b"garbage", partition=1)
        if garbage:
            producer.produce(pipeline.rollout_log_topic, b"garbage", partition=0)
        first = {records.place(number)[0]: records.place(number)[1] for number in reversed(numbers)}
        for partition, offset in first.items():
            marker = Marker(partition=partition, first_offset=offset, policy=records.change.policy.hash)
            producer.produce(pipeline.rollout_log_topic, encode(marker), partition=0)
        ends = dict(map(records.place, numbers))
        offsets = [TopicPartition(pipeline.features_topic, partition, end + 1) for partition, end in ends.items()]
        scorers = Consumer({**self.kafka.client(), "group.id": group_of(pipeline.name, "scorer")})
        producer.send_offsets_to_transaction(offsets, scorers.consumer_group_metadata(), 30)
        scorers.close()
        producer.commit_transaction(30)

    def delete(self, topic: str) -> None:
        """As retention does with what is old."""
        with Lag(self.kafka) as lag:
            ends = [TopicPartition(topic, number, end) for number, end in lag.end_offsets(topic).items()]
        admin = AdminClient(self.kafka.client())
        for future in admin.delete_records(ends).values():
            future.result(30)

    # What is saved.

    def is_drained(self) -> bool:
        """Whether all is committed that the controller reads."""
        pipeline, group = self.pipeline, group_of(self.pipeline.name, "rollout")
        assert pipeline.labels is not None
        topics = pipeline.predictions_topic, pipeline.shadow_topic, pipeline.labels.topic, pipeline.rollout_log_topic
        with Lag(self.kafka) as lag:
            return all(
                not found
                for topic in topics
                for found in lag.first_waiting(
                    group,
                    {
                        (topic, number): max(lag.committed_offsets(group, topic).get(number, 0), 0)
                        for number in lag.end_offsets(topic)
                    },
                ).values()
            )

    def saved(self) -> dict[str, bytes]:
        """The latest records of the state, but for the controller's note."""
        found: dict[str, bytes] = {}
        for record in read_topic(self.kafka, self.pipeline.rollout_state_topic):
            name = (record.key or b"").decode()
            if record.value is None:
                found.pop(name, None)
            else:
                found[name] = record.value
        found.pop(NOTE, None)
        return found

    def assert_all_is_seen_once(self) -> None:
        """What is saved is what a judge has seen that is told of all at once."""
        wait_for(self.is_drained, 90, "the controller to read and save everything")
        assert self.records is not None
        expected = without_places(seen_at_once(self.project, self.records.change, **self._expected).records())
        saved = without_places(self.saved())
        assert saved.keys() == expected.keys()
        assert {name: (saved[name], expected[name]) for name in expected if saved[name] != expected[name]} == {}

    def is_complete(self) -> bool:
        """Whether the judge was told that all answers are read."""
        with Lag(self.kafka) as lag:
            answered = lag.committed_offsets(group_of(self.pipeline.name, "scorer"), self.pipeline.features_topic)
        return dict(JudgeState.load(self.saved()).complete) == answered

    def changes(self) -> list[PolicyChange]:
        entries = (record.value or b"" for record in read_topic(self.kafka, self.pipeline.rollout_log_topic))
        return [PolicyChange.model_validate_json(value) for value in entries if b'"kind":"change"' in value]

    # Controllers.

    def start(self, *crash: str) -> ControllerProcess:
        return ControllerProcess(self, crash)

    @contextlib.contextmanager
    def judging(self) -> Iterator[ControllerProcess]:
        """A controller that runs for the duration of the block, and must exit with 0."""
        process = self.start()
        try:
            yield process
        except BaseException:
            print(process.log())
            process.process.kill()
            raise
        process.stop()

    def kill_at(self, kind: str, point: str, number: int = 1) -> None:
        """A controller that is killed there."""
        doomed = self.start(kind, point, str(number))
        assert doomed.process.wait(90) == -signal.SIGKILL, doomed.log()


class ControllerProcess:
    """``penstock rollout controller run`` as a process, with its log in a file."""

    def __init__(self, bench: ControllerBench, crash: Sequence[str]) -> None:
        self._log = bench.folder / f"controller-{time.monotonic_ns()}.log"
        module = ("tests.scoring.rollout.crashing_controller", *crash) if crash else ("penstock",)
        command = [sys.executable, "-m", *module, "rollout", "controller", "run", bench.project.reference]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=dict(os.environ))

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log()

    def wait_for_log(self, text: str, timeout_s: float = 60) -> None:
        wait_for(lambda: text in self.log() or self.process.poll() is not None, timeout_s, f"{text!r} in the log")
        assert text in self.log(), self.log()


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> ControllerBench:
    return ControllerBench(tmp_path, suffix, settings)


def test_killed_at_any_point_of_saving_it_has_seen_each_record_once(bench):
    bench.publish(0, 1, least_events=1_000_000)
    bench.score(range(200), garbage=True)
    for number, (point, transaction) in enumerate([*((point, 1) for point in POINTS), ("before_commit", 2)]):
        bench.kill_at("save", point, transaction)
        bench.score(range(200 + 20 * number, 220 + 20 * number))
    with bench.judging():
        bench.assert_all_is_seen_once()
        bench.score(range(280, 300))
        wait_for(bench.is_complete, 30, "the judge to know that all answers are read")
    assert len(bench.changes()) == 1


def test_killed_at_any_point_of_a_decision_it_is_published_once(bench):
    first = bench.publish(0.5, 1, least_events=1_000_000)
    bench.score(range(300), BAD)
    for point in POINTS:
        bench.kill_at("decision", point)
    with bench.judging() as process:
        process.wait_for_log("tries nothing")
        wait_for(bench.is_drained, 60, "the controller to read on")
    before, decided = bench.changes()
    assert (before, decided) == (first, read_policy(bench.kafka, bench.pipeline))
    assert (decided.author, decided.status, decided.previous) == ("controller", "ended", first.policy.hash)
    assert "errors" in decided.reason
    assert bench.saved() == {}


def test_a_second_controller_takes_the_place_of_the_first_which_says_so(bench):
    bench.publish(0.5, 1, least_events=1_000_000)
    bench.score(range(100))
    first = bench.start()
    first.wait_for_log("judging policy")
    with bench.judging() as second:
        second.wait_for_log("judging policy")
        assert first.process.wait(60) == 1
        assert "another controller of this pipeline runs" in first.log()
        bench.score(range(100, 200))
        bench.assert_all_is_seen_once()


@pytest.mark.parametrize("point", ["before_offsets", "before_commit"])
def test_a_change_by_a_person_just_before_a_decision_is_written_is_not_replaced(bench, tmp_path, point):
    first = bench.publish(0.5, 1, least_events=1_000_000)
    bench.score(range(300), BAD)
    hold = tmp_path / "hold"
    process = bench.start("decision", point, f"hold={hold}")
    try:
        wait_for(hold.exists, 60, "the controller to decide")
        by = By("ada", "it is good", time.time_ns() // 1_000_000)
        promotion = change_policy(bench.kafka, bench.pipeline, lambda present: promoted(present, by, "next"))
        hold.unlink()
        process.wait_for_log("tries nothing")
        bench.score(range(300, 340), BAD)
        wait_for(bench.is_drained, 60, "the controller to read on")
        assert bench.changes() == [first, promotion]
        assert read_policy(bench.kafka, bench.pipeline) == promotion
    finally:
        hold.unlink(missing_ok=True)
        process.stop()


def test_all_records_under_a_new_policy_count_and_no_others(bench):
    bench.publish(0.5, 1, least_events=1_000_000)
    bench.score(range(100))
    with bench.judging() as process:
        process.wait_for_log("judging policy")
        bench.score(range(100, 140))
        bench.publish(0.2, 1, least_events=1_000_000)
        bench.score(range(140, 300))
        wait_for(lambda: process.log().count("judging policy") == 2, 30, "the new policy")
        wait_for(bench.is_drained, 60, "everything to be read")
        state = JudgeState.load(bench.saved())
    assert state.policy == bench.records.change.policy.hash
    assert len(state.calls.rows) == 160


def test_what_kafka_has_deleted_unread_makes_the_step_begin_anew(bench):
    bench.publish(0.5, 1, least_events=1_000_000)
    bench.score(range(100))
    with bench.judging():
        wait_for(bench.is_drained, 60, "everything to be read")
    bench.score(range(100, 200))
    bench.delete(bench.pipeline.predictions_topic)
    with bench.judging() as process:
        process.wait_for_log("the present step begins anew: Kafka deleted")
        process.wait_for_log("judging policy")
        bench.score(range(200, 260))
        wait_for(lambda: bench.is_drained() and len(JudgeState.load(bench.saved()).calls.rows) == 60, 60, "new records")


def test_while_kafka_restarts_it_waits_and_then_goes_on(bench, stack):
    bench.publish(0.5, 1, least_events=1_000_000)
    bench.score(range(100))
    with bench.judging() as process:
        process.wait_for_log("judging policy")
        stack.restart("kafka")
        bench.score(range(100, 200))
        bench.assert_all_is_seen_once()


def test_a_promoted_version_becomes_the_current_one(bench):
    pipeline, repository = bench.pipeline, ModelRepository(bench.settings.model_repository)
    for _ in range(2):
        add_model(pipeline, bench.settings)
    try:
        with contextlib.closing(open_server(PRIMARY_SERVER, bench.settings)) as server:
            load_versions(repository, server, pipeline.model.name, 1, [2])
        bench.publish(1, least_events=20)
        bench.score(range(200))
        with bench.judging() as process:
            process.wait_for_log("is the current one in the model repository")
        assert repository.current(pipeline.model.name) == 2
        _, last = bench.changes()
        assert (last.status, last.policy.policy.champion.version) == ("ended", 2)
    finally:
        with contextlib.suppress(Exception):  # if it fails, the test has failed already
            unload_model(pipeline, bench.settings)
