"""The loop of an archive without servers: killed, rebalanced, away, too late; the archive has every record once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.reading import Record
from penstock.telemetry import ProgressTracker
from schemas.codec import Registry
from sinks.archive import service as service_module
from sinks.archive.batch import Limits
from sinks.archive.checking import check
from sinks.archive.columns import TopicColumns
from sinks.archive.event_columns import EventColumns
from sinks.archive.reading import Archive
from sinks.archive.service import ArchiveService
from sinks.archive.storage import Storage
from sinks.archive.topic_ids import TopicIds
from sinks.archive.writing import ArchiveWriter
from tests.sinks.archive.archive_helpers import (
    NOTHING_COMMITTED,
    TOPIC,
    Killed,
    KilledStorage,
    archive_all,
    event_columns,
    folder,
    record,
    unavailable,
)
from tests.sinks.archive.fake_archived_topic import FakeConsumer, FakeTopic
from tests.sinks.payments import Payment

KAFKA = KafkaAccess(bootstrap="kafka:9092")
FEW = Limits(rows=3, bytes=10**9, age_s=10**9)
NEVER = Limits(rows=10**9, bytes=10**9, age_s=10**9)


def topic_of(*counts: int) -> FakeTopic:
    return FakeTopic(*([record(n, partition=number) for n in range(count)] for number, count in enumerate(counts)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ArchiveService]:
    """Runs a member until it has caught up; options are those of the service."""
    monkeypatch.setattr(service_module, "backoff_s", lambda *_: 0.0)

    def until_caught_up(
        storage: Storage,
        topic: FakeTopic,
        on_poll: Callable[[FakeConsumer], object] = lambda _: None,
        columns: TopicColumns | None = None,
        **options: Any,
    ) -> ArchiveService:
        consumer = FakeConsumer(topic, on_poll)
        monkeypatch.setattr(service_module, "Consumer", lambda _: consumer)
        watch = LagWatch(KAFKA, "p", "archive", ProgressTracker(time.monotonic))
        writer = ArchiveWriter(storage, {TOPIC: columns or event_columns()})
        given: dict[str, Any] = {"limits": FEW, "until_caught_up": True, **options}
        service = ArchiveService(
            writer,
            [TOPIC],
            "p",
            KAFKA,
            watch,
            random.Random(0),
            reference="p",
            command="penstock archive run p",
            **given,
        )
        service.run()
        return service

    return until_caught_up


def held(storage: Storage) -> list[Record]:
    return list(Archive(storage).records(TOPIC))


def all_of(topic: FakeTopic) -> list[Record]:
    return [found for partition in topic.partitions for found in partition]


def test_it_archives_everything_up_to_the_markers_at_the_end(tmp_path: Path, run: Any) -> None:
    storage, topic = folder(tmp_path), topic_of(10, 7, 0)
    assert run(storage, topic).archived == 17
    assert held(storage) == all_of(topic)
    assert Archive(storage).ranges(TOPIC) == {0: [(0, 11)], 1: [(0, 8)]}
    assert topic.committed == {0: 11, 1: 8, 2: 0}


def test_caught_up_it_writes_nothing_more(tmp_path: Path, run: Any) -> None:
    storage, topic = folder(tmp_path), topic_of(10)
    run(storage, topic)
    before = storage.list("")
    assert run(storage, topic).archived == 0
    assert storage.list("") == before


def test_new_markers_alone_move_the_end_of_the_archive(tmp_path: Path, run: Any) -> None:
    storage, topic = folder(tmp_path), topic_of(10)
    run(storage, topic)
    topic.markers = 3
    assert run(storage, topic).archived == 0
    assert Archive(storage).ranges(TOPIC) == {0: [(0, 13)]}
    assert held(storage) == all_of(topic)


def test_it_goes_on_after_the_archive_whatever_is_committed_in_kafka(tmp_path: Path, run: Any) -> None:
    storage, topic = folder(tmp_path), topic_of(5)
    run(storage, topic)
    topic.partitions[0] += [record(n) for n in range(6, 9)]
    topic.committed[0] = 2
    run(storage, topic)
    assert held(storage) == all_of(topic)


@pytest.mark.parametrize(
    ("limits", "ends"),
    [
        (FEW, [4, 8, 11]),
        (NEVER, [11]),
        (Limits(rows=10**9, bytes=300, age_s=10**9), [4, 8, 11]),
        (Limits(rows=10**9, bytes=10**9, age_s=0), [4, 8, 11]),
        (Limits(rows=10**9, bytes=10**9, age_s=10**9, open_bytes=300), [4, 8, 11]),
    ],
)
def test_a_batch_is_closed_by_rows_bytes_and_age(tmp_path: Path, run: Any, limits: Limits, ends: list[int]) -> None:
    storage, topic = folder(tmp_path), topic_of(10)
    run(storage, topic, limits=limits)
    assert [commit.end for commit in Archive(storage).commits(TOPIC)[0]] == ends


def test_a_storage_that_fails_is_waited_for_with_the_partitions_paused(tmp_path: Path, run: Any) -> None:
    storage, topic, paused = folder(tmp_path), topic_of(10, 3), []
    for step in range(0, 12, 2):
        place = folder(tmp_path / str(step))
        run(KilledStorage(place, step, unavailable), topic, lambda consumer: paused.append(bool(consumer.paused)))
        assert held(place) == all_of(topic), step
        assert check(place, grace_ms=0).is_right
    assert any(paused)
    assert not paused[-1]
    assert REGISTRY.get_sample_value("penstock_sink_paused", {"pipeline": "p", "sink": "archive"}) == 0
    assert storage.list("") == []


def test_a_schema_registry_that_is_away_is_waited_for(tmp_path: Path, run: Any) -> None:
    attempts: list[int] = []

    def registry(number: int) -> Any:
        attempts.append(number)
        if len(attempts) < 3:
            raise PenstockError("the registry does not answer")
        return {"type": "record", "name": "x", "fields": []}

    asked: Registry = registry
    columns = TopicColumns(EventColumns(Payment, NOTHING_COMMITTED, asked, b"k", (1_000, 60_000)))
    storage, topic = folder(tmp_path), FakeTopic([record(0, value=b"\x00\x00\x00\x00\x07")])
    run(storage, topic, columns=columns)
    assert held(storage) == all_of(topic)
    assert len(attempts) >= 3


def test_a_batch_of_a_revoked_partition_is_left_to_its_next_owner(tmp_path: Path, run: Any) -> None:
    storage, topic, polls = folder(tmp_path), topic_of(10, 10), []

    def rebalance(consumer: FakeConsumer) -> None:
        polls.append(0)
        if len(polls) == 2:
            consumer.rebalance(1)

    run(storage, topic, rebalance, limits=NEVER)
    assert Archive(storage).ranges(TOPIC) == {1: [(0, 11)]}
    run(storage, topic)
    assert held(storage) == all_of(topic)


def test_where_another_writer_has_gone_on_it_goes_on_after_it(tmp_path: Path, run: Any) -> None:
    storage, topic, polls = folder(tmp_path), topic_of(10), []

    def rival(_: FakeConsumer) -> None:
        polls.append(0)
        if len(polls) == 2:
            archive_all(storage, topic.partitions[0][:5], sizes=(5,))

    run(storage, topic, rival, limits=NEVER)
    assert held(storage) == all_of(topic)
    assert check(storage, grace_ms=0).is_right


@pytest.mark.parametrize("when", ["before it starts", "while it reads"])
def test_it_stops_at_records_that_kafka_deleted_and_goes_on_only_if_told(tmp_path: Path, run: Any, when: str) -> None:
    storage, topic = folder(tmp_path), topic_of(30)
    everything, polls = all_of(topic), []
    if when == "before it starts":
        archive_all(storage, everything[:4], sizes=(4,))
        topic.delete(0, 9)
        on_poll: Callable[[FakeConsumer], object] = lambda _: None  # noqa: E731
    else:

        def on_poll(_: FakeConsumer) -> None:
            polls.append(0)
            if len(polls) == 3:
                topic.delete(0, 9)

    with pytest.raises(PenstockError, match=r"deleted [45] records before they were read") as error:
        run(storage, topic, on_poll)
    assert str(error.value.next).endswith("penstock archive run p --skip-deleted")
    reached = Archive(storage).ranges(TOPIC)[0][0][1]
    run(storage, topic, skip_deleted=True)
    assert Archive(storage).ranges(TOPIC) == {0: [(0, reached), (9, 31)]}
    assert [finding.kind for finding in check(storage).findings] == ["deleted by Kafka"]
    assert list(Archive(storage).records(TOPIC, start={0: 9})) == everything[9:]


def test_a_first_start_begins_at_what_the_topic_still_has(tmp_path: Path, run: Any) -> None:
    storage, topic = folder(tmp_path), topic_of(10)
    topic.delete(0, 4)
    run(storage, topic)
    assert Archive(storage).ranges(TOPIC) == {0: [(4, 11)]}


@pytest.mark.parametrize("ids", [("a", "b"), ("a", "a"), (None, "b")])
def test_a_topic_that_was_made_anew_is_never_mixed_with_the_old_one(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, ids: tuple[str | None, str]
) -> None:
    storage, (before, now) = folder(tmp_path), ids
    (written,) = archive_all(storage, [record(n) for n in range(10)], sizes=(10,))
    storage.put(written.path, written.model_copy(update={"topic_id": before}).encode())
    other = topic_of(20 if before != now and before else 5)
    with pytest.raises(PenstockError, match="the topic was made anew") as error:
        run(storage, other, topic_ids=TopicIds(lambda _: {TOPIC: now}, [TOPIC]), skip_deleted=True)
    assert "an archive of its own" in str(error.value.next)
    assert held(storage) == [record(n) for n in range(10)]


@pytest.mark.parametrize("placed_again", [False, True])
def test_a_topic_that_is_made_anew_while_it_is_archived_ends_it_before_the_next_batch_or_placing(
    tmp_path: Path, run: Any, *, placed_again: bool
) -> None:
    storage, topic, ids, polls = folder(tmp_path), topic_of(10, 10), {TOPIC: "a"}, []

    def make_anew(consumer: FakeConsumer) -> None:
        polls.append(0)
        if len(polls) == 3:
            ids[TOPIC] = "b"
            # Refilled past the old end: no offset tells that it is another topic.
            topic.partitions[0] = [record(n, value=b"of another topic") for n in range(20)]
            if placed_again:
                consumer.rebalance(1)
                consumer.rebalance(0)

    limits = NEVER if placed_again else FEW
    with pytest.raises(PenstockError, match="was made anew while it was archived: it has another id") as error:
        run(storage, topic, make_anew, limits=limits, topic_ids=TopicIds(lambda _: dict(ids), [TOPIC]))
    assert "an archive of its own" in str(error.value.next)
    assert len(polls) == 3
    assert not storage.list("") if placed_again else all(found.value != b"of another topic" for found in held(storage))


def test_an_id_that_kafka_does_not_tell_for_a_while_changes_nothing(tmp_path: Path, run: Any) -> None:
    storage, topic, answers = folder(tmp_path), topic_of(10), iter([{TOPIC: "a"}, {}, {TOPIC: "a"}])
    run(storage, topic, topic_ids=TopicIds(lambda _: next(answers, {}), [TOPIC]))
    assert held(storage) == all_of(topic)


def test_stopped_it_writes_what_it_has(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, topic, polls = folder(tmp_path), topic_of(10), []
    stopped: list[ArchiveService] = []
    original = ArchiveService.__init__

    def remember(self: ArchiveService, *given: Any, **options: Any) -> None:
        original(self, *given, **options)
        stopped.append(self)

    def stop(_: FakeConsumer) -> None:
        polls.append(0)
        if len(polls) == 3:
            stopped[0].stop()

    monkeypatch.setattr(ArchiveService, "__init__", remember)
    run(storage, topic, stop, limits=NEVER, until_caught_up=False)
    assert Archive(storage).ranges(TOPIC) == {0: [(0, topic.committed[0])]}
    assert 0 < topic.committed[0] < 11


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    kills=st.lists(st.tuples(st.sampled_from(["step", "poll", "fail"]), st.integers(0, 12)), max_size=5),
    rows=st.integers(1, 6),
)
def test_whatever_happens_and_whenever_every_record_is_archived_once(
    tmp_path_factory: pytest.TempPathFactory, run: Any, counts: list[int], kills: list[tuple[str, int]], rows: int
) -> None:
    storage, topic = folder(tmp_path_factory.mktemp("archive")), topic_of(*counts)
    limits = Limits(rows=rows, bytes=10**9, age_s=10**9)
    for kind, at in kills:
        polls: list[int] = []

        def on_poll(_: FakeConsumer, polls: list[int] = polls, kind: str = kind, at: int = at) -> None:
            polls.append(0)
            if kind == "poll" and len(polls) > at:
                raise Killed

        error = unavailable if kind == "fail" else Killed
        try:
            run(KilledStorage(storage, None if kind == "poll" else at, error), topic, on_poll, limits=limits)
        except Killed:
            continue
    run(storage, topic, limits=limits)
    if any(counts):
        assert held(storage) == all_of(topic)
        assert Archive(storage).ranges(TOPIC) == {p: [(0, n + 1)] for p, n in enumerate(counts) if n}
    assert {finding.kind for finding in check(storage).findings} <= {"recent"}
