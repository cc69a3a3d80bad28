"""The rule for records that Kafka deleted before they were read."""

from __future__ import annotations

from typing import Any, cast

import click
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import REGISTRY

from penstock.commands.options import skip_deleted_option
from penstock.errors import PenstockError
from penstock.kafka.gaps import SKIP_FLAG, Gap
from penstock.kafka.retention import GapPolicy, OffsetResets

TOPIC = "features.p"


def policy(*, skip: bool = False) -> GapPolicy:
    return GapPolicy("p", "sink-x", (TOPIC,), "They are missing.", "penstock sink run x p", skip)


def counted() -> float:
    labels = {"pipeline": "p", "part": "sink-x", "topic": TOPIC}
    return REGISTRY.get_sample_value("penstock_consumer_deleted_records_total", labels) or 0.0


class FakeConsumer:
    """A consumer of one partition that is assigned, with the offsets that its topic has."""

    def __init__(self, earliest: int = 0, end: int = 100, committed: int = -1001) -> None:
        self.earliest, self.end, self.offset = earliest, end, committed
        self.assigned = [TopicPartition(TOPIC, 0)]
        self.placed: list[int] = []
        self.commits: list[int] = []
        self.down = False

    def assignment(self) -> list[TopicPartition]:
        return self.assigned

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return [TopicPartition(p.topic, p.partition, self.offset) for p in partitions]

    def get_watermark_offsets(self, _partition: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return self.earliest, self.end

    def incremental_unassign(self, _partitions: list[TopicPartition]) -> None: ...

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.placed += [p.offset for p in partitions]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert not asynchronous
        self.commits += [p.offset for p in offsets]


class FakeMessage:
    def __init__(self, offset: int | None, code: int = KafkaError._AUTO_OFFSET_RESET) -> None:
        self._offset, self._code = offset, code

    def error(self) -> KafkaError:
        return KafkaError(self._code)

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int | None:
        return self._offset


def place(consumer: FakeConsumer, offset: int | None, resets: OffsetResets) -> dict[Any, Gap | None]:
    assert resets.takes(cast("Message", FakeMessage(offset)))
    return resets.place(cast("Consumer", consumer))


@pytest.mark.parametrize(("expected", "gap"), [(4, True), (5, False), (9, False), (10, False), (11, True)])
def test_there_is_a_gap_unless_the_topic_has_the_record_or_will_have_it_next(expected: int, gap: bool) -> None:
    assert (Gap.find((TOPIC, 0), expected, 5, 10) is not None) == gap


def test_the_error_says_what_is_lost_and_how_to_go_on() -> None:
    text = str(Gap(TOPIC, 3, 11, 1_060, 2_000).error("They are missing.", "penstock sink run x ads/pipeline.py"))
    assert "deleted 1,049 records before they were read: features.p[3]@11 is the next" in text
    assert "now begins at 1060. They are missing." in text
    assert "to go on at 1060: penstock sink run x ads/pipeline.py --skip-deleted" in text


def test_a_topic_that_ends_before_the_next_record_was_made_anew() -> None:
    gap = Gap(TOPIC, 0, 500, 60, 100)
    assert gap.lost == 0
    assert "the topic ends at 100: it was made anew" in str(gap.error("", "c"))


def test_a_gap_stops_the_consumer_and_is_counted() -> None:
    before = counted()
    with pytest.raises(PenstockError):
        place(FakeConsumer(earliest=60), 11, OffsetResets(policy()))
    assert counted() - before == 49


def test_with_the_flag_the_consumer_goes_on_at_the_earliest_record_and_commits_that() -> None:
    before, consumer = counted(), FakeConsumer(earliest=60)
    placed = place(consumer, 11, OffsetResets(policy(skip=True)))
    assert placed == {(TOPIC, 0): Gap(TOPIC, 0, 11, 60, 100)}
    assert (consumer.placed, consumer.commits, counted() - before) == ([60], [60], 49)


def test_what_was_read_and_not_committed_counts_as_lost() -> None:
    before = counted()
    place(FakeConsumer(earliest=60, committed=5), 11, OffsetResets(policy(skip=True)))
    assert counted() - before == 55


def test_a_new_group_begins_at_the_earliest_record_without_the_flag() -> None:
    before, consumer = counted(), FakeConsumer(earliest=60)
    assert place(consumer, None, OffsetResets(policy())) == {(TOPIC, 0): None}
    assert (consumer.placed, consumer.commits, counted()) == ([OFFSET_BEGINNING], [], before)


def test_an_offset_that_the_topic_has_again_is_read() -> None:
    consumer = FakeConsumer()
    assert place(consumer, 11, OffsetResets(policy())) == {(TOPIC, 0): None}
    assert consumer.placed == [11]


def test_while_kafka_does_not_answer_the_partition_waits() -> None:
    consumer, resets = FakeConsumer(earliest=60), OffsetResets(policy(skip=True))
    consumer.down = True
    assert place(consumer, 11, resets) == {}
    assert resets.waiting
    consumer.down = False
    assert resets.place(cast("Consumer", consumer)).keys() == {(TOPIC, 0)}
    assert not resets.waiting


def test_an_error_of_the_partition_does_not_pass_for_no_committed_offset() -> None:
    class Answer:
        offset, error = -1001, KafkaError(KafkaError.NOT_COORDINATOR)

    class Erring(FakeConsumer):
        def committed(self, *_: Any, **__: Any) -> list[Any]:
            return [Answer()]

    resets = OffsetResets(policy(skip=True))
    assert place(Erring(earliest=60), 11, resets) == {}
    assert resets.waiting


def test_a_partition_that_was_revoked_is_left_to_its_next_owner() -> None:
    consumer, resets = FakeConsumer(earliest=60), OffsetResets(policy())
    assert resets.takes(cast("Message", FakeMessage(11)))
    resets.forget([(TOPIC, 0)])
    assert resets.place(cast("Consumer", consumer)) == {}
    consumer.assigned = []
    assert place(consumer, 11, resets) == {}


def test_other_errors_are_not_taken() -> None:
    message = FakeMessage(11, KafkaError._TRANSPORT)
    assert not OffsetResets(policy()).takes(cast("Message", message))


def test_the_flag_in_messages_is_the_commands() -> None:
    @skip_deleted_option
    def command() -> None: ...

    (option,) = cast("Any", command).__click_params__
    assert isinstance(option, click.Option)
    assert option.opts == [SKIP_FLAG]
