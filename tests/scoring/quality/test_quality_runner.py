"""The process over a Kafka in memory: killed anywhere, it counts each record once."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.errors import PenstockError
from penstock.kafka.membership import MembershipLostError
from penstock.kafka.reading import Record
from penstock.kafka.retention import GapPolicy
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from schemas.history import record_decoder
from scoring.quality import maturity_queue, runner, store
from scoring.quality.book import Book
from scoring.quality.facts import QualityFacts
from scoring.quality.histograms import Histogram
from scoring.quality.quality_input import QualityInput
from scoring.quality.quality_metrics import QualityMetrics
from scoring.quality.reading_clock import ReadingClock
from scoring.quality.runner import QualityComponents, QualityRunner
from scoring.quality.store import NOTE, QualityStore, read_quality, require_counted
from scoring.rollout.controller_positions import Found
from tests.scoring.quality.quality_records import HORIZON_MS, LABELS, OTHERWISE, QualityRecords, define_quality, time_of
from tests.scoring.rollout.fake_kafka import FakeConsumer, FencedConsumer, Killed
from tests.scoring.rollout.fake_messages import FakeMessage

PARTITIONS = 2


class World:
    """A pipeline's topics, and processes that count them one after the other."""

    def __init__(self, folder: Any, labels: str = LABELS) -> None:
        self.folder = folder
        self.use(define_quality(folder, "unit", PARTITIONS, labels))
        self.records = QualityRecords(self.project, PARTITIONS)
        pipeline = self.project.pipeline
        topics = QualityInput(self.project, self.facts).topics
        self.live, self.shadow, self.labels, *self.others = topics
        self.partitions = dict.fromkeys(topics, PARTITIONS)
        self.topics: dict[Any, list[FakeMessage]] = {
            (topic, number): [] for topic in self.partitions for number in range(PARTITIONS)
        }
        self.earliest = dict.fromkeys(self.topics, 0)
        self.committed: dict[Any, int] = {}
        self.outcomes: list[str] = []
        self.sizes: list[int] = []
        self.kept: dict[str, dict[bytes, bytes]] = {pipeline.quality_topic: {}, pipeline.quality_state_topic: {}}
        self.alerts: list[Record] = []

    def use(self, project: Any) -> None:
        self.project = project
        self.facts = QualityFacts.of(project.pipeline)

    def add(self, topic: str, partition: int, value: bytes, **rest: Any) -> None:
        of = self.topics[topic, partition]
        of.append(FakeMessage(topic, partition, len(of), value, **rest))

    def score(self, numbers: range, *, shadows: bool = False) -> None:
        for number in numbers:
            self.add(self.live, self.records.partition(number), self.records.live(number))
            if shadows:
                self.add(self.shadow, self.records.partition(number), self.records.shadow(number))

    def label(self, number: int, value: float | None = 1.0, **rest: Any) -> None:
        known_at = time_of(number) + rest.get("age_ms", 600_000)
        content = self.records.label(number, value, **rest)
        self.add(self.labels, self.records.partition(number), content, timestamp_ms=known_at)

    def opine(self, number: int, value: bool | None, **rest: Any) -> None:
        """What the second source says."""
        known_at = time_of(number) + rest.get("age_ms", 600_000)
        content = self.records.opinion(number, value, **rest)
        self.add(self.others[0], self.records.partition(number), content, timestamp_ms=known_at)

    # As the stores of the process see it.

    def read_topic(self, topic: str, **_: Any) -> Iterator[Record]:
        if topic == self.project.pipeline.drift_topic:
            return iter(self.alerts)
        return (Record(0, n, 1, key, value, ()) for n, (key, value) in enumerate(self.kept[topic].items()))

    def find(self) -> Found:
        return Found.of(self.committed, self.earliest, {place: len(of) for place, of in self.topics.items()})

    def start(self) -> bool:
        return True

    def serve(self) -> None:
        pass

    def write(self, records: list[Any], offsets: list[TopicPartition], _group: object, _timeout_s: float) -> None:
        assert offsets, "only offsets tell the broker which process this is"
        outcome = self.outcomes.pop(0) if self.outcomes else "written"
        self.sizes.append(len(records))
        if outcome in ("written", "unknown_written", "killed_after"):
            for record in records:
                if record.topic == self.project.pipeline.drift_topic:
                    self.alerts.append(Record(record.partition, len(self.alerts), 1, record.key, record.value, ()))
                elif record.value is None:
                    self.kept[record.topic].pop(record.key, None)
                else:
                    self.kept[record.topic][record.key] = record.value
            self.committed |= {(tp.topic, tp.partition): tp.offset for tp in offsets}
        if outcome.startswith("killed"):
            raise Killed
        if outcome.startswith("unknown"):
            raise OutcomeUnknownError("who knows")
        if outcome == "aborted":
            raise TransactionAbortedError("no")
        if outcome == "fenced":
            raise InstanceFencedError("fenced")

    # Processes.

    def run(
        self, *, steps: int = 40, most: int = 25, skip: bool = False, consumer: FakeConsumer | None = None
    ) -> CollectorRegistry:
        now, left, registry = [0.0], [steps], CollectorRegistry()
        watch = SimpleNamespace(
            started=lambda: None, assigned=lambda _p: None, revoked=lambda _p: None, done=lambda _p: None
        )
        components = QualityComponents(
            consumer=consumer or FakeConsumer(self, most),  # type: ignore[arg-type]
            store=QualityStore(self.project.pipeline, self.facts, self.read_topic, self),
            positions=self,  # type: ignore[arg-type]
            reader=QualityInput(self.project, self.facts),
            metrics=QualityMetrics(registry, self.project.name, [*self.partitions], lambda _version: 0.9),
            watch=watch,  # type: ignore[arg-type]
            gaps=GapPolicy(self.project.name, "quality", tuple(self.partitions), "", "run it", skip),
        )

        def stopping() -> bool:
            left[0] -= 1
            now[0] += 0.7
            return left[0] < 0

        QualityRunner(
            self.partitions,
            HORIZON_MS,
            components,
            now=lambda: 5,
            clock=lambda: now[0],
            wait=lambda _s: None,
            stopping=stopping,
        ).run()
        return registry

    def survive(self, **options: Any) -> CollectorRegistry:
        """Run processes until all has happened that was to happen, and all is read."""
        for _ in range(50):
            try:
                registry = self.run(**options)
            except Killed:
                continue
            if not self.outcomes and self.committed == {place: len(of) for place, of in self.topics.items()}:
                return registry
        raise AssertionError("it does not come to an end")

    def counted(self) -> dict[Any, Histogram]:
        return read_quality(self.read_topic, self.project.pipeline).histograms

    def expected(self) -> dict[Any, Histogram]:
        return self.expected_book().histograms

    def expected_book(self) -> Book:
        """A book that is given everything at once."""
        messages: dict[str, list[FakeMessage]] = {topic: [] for topic in self.partitions}
        for (topic, _), of in self.topics.items():
            messages[topic] += of
        read = QualityInput(self.project, self.facts).read(messages)
        book = Book(self.facts)
        book.observe(read.predictions, read.labels)
        clock = ReadingClock({p for p in self.topics if p[0] in (self.labels, *self.others)}, self.topics)
        book.advance(clock.read(read.come, (), self.topics).reached)
        return book


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def fill(world: World) -> None:
    world.score(range(300), shadows=True)
    for number in range(0, 300, 4):
        world.label(number)
    world.label(40, None, age_ms=700_000)
    world.label(44, 0.0, age_ms=800_000)


def test_of_two_sources_each_label_counts_once_whatever_dies_in_between(tmp_path) -> None:
    world = World(tmp_path, LABELS + OTHERWISE)
    fill(world)
    # Of 40 the label was withdrawn, so that this one counts; of 44 it was not; of 41 there is no other.
    for number in (40, 41, 44):
        world.opine(number, True, age_ms=900_000)
    world.outcomes = ["killed", "written", "killed_after", "unknown_written", "aborted"]
    world.survive(most=40)
    assert world.counted() == world.expected()
    before = positives(world)
    # What was saved of the second source gives way to the first, whose label is of an earlier time.
    world.label(41, 0.0, age_ms=800_000)
    world.survive(most=40)
    assert (world.counted(), positives(world)) == (world.expected(), before - 1)
    # The second source alone tells that time goes on.
    world.opine(299, None, age_ms=900_000)
    world.survive(most=40)
    assert world.counted() == world.expected()
    assert positives(world) > before


def positives(world: World) -> int:
    """The positive events of the version that is served."""
    return sum(of.count("positive") for key, of in world.counted().items() if key.version == "1" and not key.group)


def value_of(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"penstock_quality_{name}", {"pipeline": "taps_unit", **labels})


def test_everything_is_counted_once_and_shown(world) -> None:
    fill(world)
    registry = world.survive()
    assert world.counted() == world.expected() != {}
    kept = read_quality(world.read_topic, world.project.pipeline)
    assert require_counted(kept, world.facts, world.project.pipeline).reached.mature_ms == time_of(296) + 600_000
    assert value_of(registry, "matured_total", outcome="positive") > 20
    assert value_of(registry, "estimate", version="1", arm="present", measure="auc") is not None
    assert value_of(registry, "reference_auc", version="1") == 0.9
    assert value_of(registry, "waiting") == len(world.kept[world.project.pipeline.quality_state_topic])


@pytest.mark.parametrize(("lost_before", "error"), [(False, InstanceFencedError), (True, MembershipLostError)])
def test_who_is_fenced_because_the_membership_was_lost_is_not_replaced_and_joins_again(world, lost_before, error):
    with pytest.raises(error):
        world.run(consumer=FencedConsumer(world, lost_before=lost_before))


@pytest.mark.parametrize("outcome", ["aborted", "fenced", "unknown", "unknown_written", "killed", "killed_after"])
@pytest.mark.parametrize("transaction", [0, 2])
def test_whatever_becomes_of_a_transaction_everything_is_counted_once(world, outcome, transaction) -> None:
    fill(world)
    world.outcomes = ["written"] * transaction + [outcome]
    world.survive()
    assert world.counted() == world.expected()


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.sampled_from(["written", "aborted", "unknown", "unknown_written", "killed", "killed_after"]), max_size=8
    ),
    st.integers(5, 60),
)
def test_any_run_of_failures_leaves_no_trace(tmp_path_factory, outcomes, most) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    fill(world)
    world.outcomes = outcomes
    world.survive(most=most)
    assert world.counted() == world.expected()


def test_what_comes_later_is_added_and_corrected(world) -> None:
    fill(world)
    world.survive()
    before = world.counted()
    world.label(8, None, age_ms=900_000)
    world.score(range(300, 340))
    world.label(339)
    world.survive()
    assert world.counted() == world.expected() != before


def test_a_label_whose_producers_clock_is_ahead_makes_no_event_mature(world) -> None:
    fill(world)
    ahead = world.records.label(0, 1.0, age_ms=10**9)
    world.add(world.labels, 0, ahead, timestamp_ms=time_of(100))
    world.survive()
    kept = read_quality(world.read_topic, world.project.pipeline)
    assert kept.note is not None
    assert kept.note.reached.mature_ms == time_of(296) + 600_000


def disagree(world: World) -> None:
    """Labels that scores do not expect, in order: of a stretch of events all are positive."""
    world.score(range(400))
    for number in range(400):
        if number % 4 == 0 or 60 < number <= 100:
            world.label(number)


@pytest.mark.parametrize("outcome", ["written", "aborted", "unknown", "unknown_written", "killed", "killed_after"])
def test_an_alarm_on_labels_is_published_once_whatever_becomes_of_its_transaction(world, outcome) -> None:
    disagree(world)
    # Any of the transactions may have the alarm.
    world.outcomes = ["written", outcome] * 5
    world.survive()
    (alert,) = (record_decoder("drift_alert").decode(record.value or b"") for record in world.alerts)
    assert (alert["monitor"], alert["detector"], alert["model_version"]) == ("labels", "e_detector", "1")
    assert alert["current"] > 1.3 * alert["reference"]
    assert time_of(60) < alert["event_time"] < time_of(101)
    assert alert["topic"] == world.project.pipeline.source.topic
    # Nor has the detector forgotten a label, or seen one twice.
    note = read_quality(world.read_topic, world.project.pipeline).note
    assert note is not None
    assert note.watch == world.expected_book().watch.state()


def test_alarms_on_labels_are_counted_and_how_far_the_next_one_is(world) -> None:
    disagree(world)
    registry = world.survive(steps=100)
    assert len(world.alerts) == value_of(registry, "label_alarms_total", version="1") == 1
    assert value_of(registry, "label_statistic", version="1") == 0  # it rests


def test_counted_anew_an_alarm_that_was_published_is_not_again(world) -> None:
    disagree(world)
    world.survive()
    world.committed.clear()
    world.survive()
    assert world.counted() == world.expected()
    assert len(world.alerts) == 1


def test_a_process_that_is_told_to_stop_saves_what_it_has_read(world) -> None:
    fill(world)
    world.run(steps=5, most=25)  # the first takes up, and each other one reads 25 records
    assert sum(world.committed.values()) == 100


def test_labels_that_are_read_before_their_predictions_count_all_the_same(world) -> None:
    for number in range(0, 300, 4):
        world.label(number)
    world.survive()
    world.score(range(300))
    world.survive()
    assert world.counted() == world.expected()


def test_garbage_is_passed_over_and_told(world) -> None:
    fill(world)
    for topic in world.partitions:
        world.add(topic, 1, b"garbage")
    world.add(world.live, 0, world.records.live(500, score=float("nan")))
    world.add(world.live, 0, world.records.live(501, score=2.5))
    registry = world.survive()
    assert value_of(registry, "unreadable_total", topic=world.live) == 3
    assert value_of(registry, "unreadable_total", topic=world.labels) == 1
    assert world.counted() == world.expected()


def test_another_definition_counts_anew_from_the_oldest_records(world) -> None:
    fill(world)
    world.survive()
    before = world.counted()
    again = world.folder / "again"
    again.mkdir()
    world.use(define_quality(again, "unit", PARTITIONS, 'horizon="1h", absent="excluded"'))
    with pytest.raises(PenstockError, match="the definition has changed"):
        require_counted(read_quality(world.read_topic, world.project.pipeline), world.facts, world.project.pipeline)
    world.survive()
    assert world.counted() == world.expected() != before


@pytest.mark.parametrize("outcome", ["written", "aborted", "unknown_written", "killed", "killed_after"])
@pytest.mark.parametrize("transaction", [0, 1, 3])
def test_no_transaction_has_more_records_than_can_be_written_in_time(world, monkeypatch, outcome, transaction) -> None:
    monkeypatch.setattr(store, "_MOST_REMOVED", 40)
    monkeypatch.setattr(runner, "_MOST_UNSAVED", 60)
    fill(world)
    world.survive()
    again = world.folder / "again"
    again.mkdir()
    world.use(define_quality(again, "unit", PARTITIONS, 'horizon="1h", absent="excluded"'))
    world.sizes.clear()
    world.outcomes = ["written"] * transaction + [outcome]
    world.survive()
    assert world.counted() == world.expected()
    assert max(world.sizes) < 2 * 40 + 60 + 25 + 10


@pytest.mark.parametrize("outcome", ["written", "unknown_written", "killed", "killed_after"])
def test_many_events_that_mature_at_once_do_so_over_several_transactions(world, monkeypatch, outcome) -> None:
    fill(world)
    expected = world.expected()
    monkeypatch.setattr(maturity_queue, "_MOST_AT_ONCE", 10)
    world.outcomes = ["written", outcome] * 3
    world.survive(most=1_000)
    world.run(steps=100)
    assert world.counted() == expected
    kept = read_quality(world.read_topic, world.project.pipeline)
    assert kept.note.reached.mature_ms == time_of(296) + 600_000


@pytest.mark.parametrize("lost", ["note", "offsets", "state"])
def test_without_a_note_or_offsets_it_counts_anew(world, lost) -> None:
    fill(world)
    world.survive()
    if lost == "note":
        del world.kept[world.project.pipeline.quality_topic][NOTE]
    elif lost == "offsets":
        world.committed.clear()
    else:
        world.kept[world.project.pipeline.quality_state_topic][b"event-9"] = b"[]"
    world.survive()
    assert world.counted() == world.expected()


def test_records_that_kafka_has_deleted_unread_stop_it_unless_they_are_to_be_skipped(world) -> None:
    fill(world)
    world.survive()
    world.score(range(300, 310))
    world.earliest[world.live, 0] = len(world.topics[world.live, 0]) - 1
    with pytest.raises(PenstockError, match="deleted"):
        world.run()
    world.survive(skip=True)


def test_nothing_was_counted_yet_is_said(world) -> None:
    kept = read_quality(world.read_topic, world.project.pipeline)
    with pytest.raises(PenstockError, match="never counted"):
        require_counted(kept, world.facts, world.project.pipeline)


@pytest.mark.parametrize(
    ("labels", "message"),
    [('task="regression", horizon="1h"', "are values"), ("", "have no horizon")],
)
def test_labels_that_are_never_final_or_are_values_are_refused(tmp_path, labels, message) -> None:
    with pytest.raises(PenstockError, match=message):
        QualityFacts.of(define_quality(tmp_path, "unit", 1, labels).pipeline)
