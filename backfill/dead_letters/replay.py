"""Replays lanes: what a batch of letters gives, and the offset after it, are written in one transaction.

The producer of a lane has a transactional id of its own. It is started before the lane's progress is read, so a replay
that another one overtakes cannot write any more. A replay that is killed at any moment has either written a batch or
not; the next one goes on after the last that was written.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import NamedTuple, NoReturn

from confluent_kafka import TopicPartition

from backfill.dead_letters.lanes import Lane, PlacedLetter
from backfill.dead_letters.reading import lane_consumer, read_lane, replayed_until
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import read_topic
from penstock.kafka.records import Produced
from penstock.kafka.transactions import (
    OutcomeUnknownError,
    TransactionAbortedError,
    TransactionalProducer,
    producer_factory,
)
from schemas.dead_letters import REPLAY_COUNT, REPLAY_OF

_BATCH, _BATCH_BYTES = 500, 16 * 1024 * 1024
_WRITE_S = 20.0
_ATTEMPTS = 3

AGAIN, QUARANTINED, GONE = "refused again", "quarantined", "only an excerpt is left: not replayed"

_log = logging.getLogger(__name__)


class Answers(NamedTuple):
    """What a batch of letters gives: records to write, and how many letters went which way, in words."""

    records: list[Produced]
    outcomes: Counter[str]


Answer = Callable[[Sequence[PlacedLetter]], Answers]
"""Answers letters of one partition. It may run again for the same letters, so its own effects must bear that."""


class Replay:
    """Replays the letters of a lane that are there now.

    Args:
        pipeline: The pipeline's name.
        kafka: How to reach Kafka.
        command: The command to run again if this one cannot go on.
    """

    def __init__(self, pipeline: str, kafka: KafkaAccess, command: str) -> None:
        self._pipeline = pipeline
        self._kafka = kafka
        self._command = command

    def run(self, lane: Lane, answer: Answer, *, restore: bool = True) -> Counter[str]:
        """Replay the lane up to its present end; returns how many letters went which way.

        Args:
            lane: The letters.
            answer: What they give.
            restore: Whether a letter with an excerpt needs the whole record, from the topic where it was refused.

        Raises:
            PenstockError: if Kafka refuses a transaction or does not answer. What was written stays, and is not
                repeated.
        """
        group = lane.group(self._pipeline)
        producer = TransactionalProducer(
            producer_factory(self._kafka, group),
            group,
            clock=time.monotonic,
            wait=time.sleep,
            stopping=lambda: False,
            on_replaced=self._raise_unknown,
        )
        producer.start()
        outcomes: Counter[str] = Counter()
        with closing(lane_consumer(self._kafka, group)) as consumer:
            metadata = consumer.consumer_group_metadata()
            for partition, start in replayed_until(self._kafka, group, lane.topic).items():
                for batch in _batches(read_lane(self._kafka, self._pipeline, lane, partition, start)):
                    letters = [placed for placed in batch if not placed.is_quarantined]
                    if restore:
                        letters = [found for placed in letters if (found := self._whole(placed)) is not None]
                    answers = answer(letters)
                    offsets = [TopicPartition(lane.topic, partition, batch[-1].place.offset + 1)]
                    self._write(producer, answers.records, offsets, metadata)
                    quarantined = sum(placed.is_quarantined for placed in batch)
                    outcomes += answers.outcomes
                    outcomes += Counter({QUARANTINED: quarantined, GONE: len(batch) - quarantined - len(letters)})
        return +outcomes

    def _whole(self, placed: PlacedLetter) -> PlacedLetter | None:
        """The letter with its whole record; None if retention has deleted what the letter has an excerpt of."""
        letter = placed.letter
        if letter.value_bytes is None:
            return placed
        start, end = {letter.partition: letter.offset}, {letter.partition: letter.offset + 1}
        with suppress(PenstockError):
            for record in read_topic(self._kafka, letter.topic, start=start, end=end):
                # The letter tells how often the record was replayed.
                replays = [header for header in letter.original_headers if header[0] in (REPLAY_OF, REPLAY_COUNT)]
                headers = (*(each for each in record.headers if each not in replays), *replays)
                whole = replace(letter, key=record.key, value=record.value, original_headers=headers, value_bytes=None)
                return replace(placed, letter=whole)
        return None

    def _write(
        self, producer: TransactionalProducer, records: list[Produced], offsets: list[TopicPartition], metadata: object
    ) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                producer.write(records, offsets, metadata, _WRITE_S)
            except TransactionAbortedError as error:
                if attempt == _ATTEMPTS:
                    raise self._stopped(f"the transaction was aborted: {error}") from error
                _log.warning("transaction aborted (%s); trying again", error)
            except OutcomeUnknownError as error:
                self._raise_unknown(str(error))
            else:
                return

    def _raise_unknown(self, why: str) -> NoReturn:
        raise self._stopped(f"another replay of the same letters runs, or Kafka was lost: {why}")

    def _stopped(self, what: str) -> PenstockError:
        return PenstockError(
            what,
            where=str(self._kafka),
            safe="every batch is written once or not at all, and the next replay goes on after the last one written",
            next=self._command,
        )


def _batches(letters: Iterator[PlacedLetter]) -> Iterator[list[PlacedLetter]]:
    batch: list[PlacedLetter] = []
    size = 0
    for placed in letters:
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(placed)
        size += len(placed.letter.value or b"")
    if batch:
        yield batch
