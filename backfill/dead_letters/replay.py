"""Replays lanes: what a batch of letters gives, and the offset after it, are written in one transaction.

The producer of a lane has a transactional id of its own. It is started before the lane's progress is read, so a replay
that another one overtakes cannot write any more. A replay that is killed at any moment has either written a batch or
not; the next one goes on after the last that was written.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import NamedTuple, NoReturn

from confluent_kafka import TopicPartition

from backfill.dead_letters.lanes import Lane, PlacedLetter
from backfill.dead_letters.reading import lane_consumer, read_lane, replayed_until
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import RecordsGoneError, read_topic
from penstock.kafka.records import Produced
from penstock.kafka.transactions import (
    OutcomeUnknownError,
    RecordRefusedError,
    TransactionAbortedError,
    TransactionalProducer,
    producer_factory,
)
from schemas.dead_letters import REPLAY_COUNT, REPLAY_OF

_BATCH, _BATCH_BYTES = 500, 16 * 1024 * 1024
_WRITE_S = 20.0
_ATTEMPTS = 3

AGAIN, QUARANTINED, GONE = "refused again", "quarantined", "only an excerpt is left: not replayed"
KEPT = "refused by Kafka: kept as a letter"

_log = logging.getLogger(__name__)


class Answers(NamedTuple):
    """What a batch of letters gives: records to write, and how many letters went which way, in words."""

    records: list[Produced]
    outcomes: Counter[str]


Answer = Callable[[Sequence[PlacedLetter]], Answers]
"""Answers letters of one partition. It may run again for the same letters, so its own effects must bear that."""


class Replay:
    """Replays the letters of a lane that were there when the command began.

    Args:
        pipeline: The pipeline's name.
        kafka: How to reach Kafka.
        command: The command to run again if this one cannot go on.
    """

    def __init__(self, pipeline: str, kafka: KafkaAccess, command: str) -> None:
        self._pipeline = pipeline
        self._kafka = kafka
        self._command = command

    def run(
        self,
        lane: Lane,
        ends: Mapping[int, int],
        answer: Answer,
        *,
        keep: Callable[[PlacedLetter, str], Produced] | None = None,
        restore: bool = True,
        on_letters: Callable[[int], object] = lambda _number: None,
    ) -> Counter[str]:
        """Replay the lane; returns how many letters went which way.

        Args:
            lane: The letters.
            ends: The offset of each partition before which to stop: what the replay itself writes comes after it.
            answer: What the letters give.
            keep: A new letter for one whose record Kafka refuses, with Kafka's reason; None if that ends the replay.
            restore: Whether a letter with an excerpt needs the whole record, from the topic where it was refused.
            on_letters: Called with the number of letters that were just done.

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

            def replay(batch: Sequence[PlacedLetter]) -> Counter[str]:
                letters, gone = self._to_answer(batch, restore=restore)
                answers = answer(letters)
                offsets = [TopicPartition(*batch[-1].place[:2], batch[-1].place.offset + 1)]
                try:
                    self._write(producer, answers.records, offsets, metadata)
                except RecordRefusedError as refusal:
                    if keep is None:
                        raise
                    if len(batch) > 1:  # only alone is it sure which record is refused
                        middle = len(batch) // 2
                        return replay(batch[:middle]) + replay(batch[middle:])
                    _log.warning("%s is kept as a letter: %s", batch[0].place, refusal.what)
                    answers = Answers([keep(letters[0], refusal.what)], Counter({KEPT: 1}))
                    self._write(producer, answers.records, offsets, metadata)
                on_letters(len(batch))
                return answers.outcomes + Counter({QUARANTINED: len(batch) - gone - len(letters), GONE: gone})

            for partition, start in replayed_until(self._kafka, group, lane.topic).items():
                letters = read_lane(self._kafka, self._pipeline, lane, partition, (start, ends.get(partition, start)))
                for batch in _batches(letters):
                    outcomes += replay(batch)
        return outcomes

    def _to_answer(self, batch: Sequence[PlacedLetter], *, restore: bool) -> tuple[list[PlacedLetter], int]:
        """The letters of a batch that are not quarantined, whole, and of how many the record is gone."""
        letters = [placed for placed in batch if not placed.is_quarantined]
        if not restore:
            return letters, 0
        found = [self._whole(placed) for placed in letters]
        # A letter may have been too short for its record's headers: only the whole record says how often it came.
        whole = [placed for placed in found if placed is not None]
        return [placed for placed in whole if not placed.is_quarantined], len(found) - len(whole)

    def _whole(self, placed: PlacedLetter) -> PlacedLetter | None:
        """The letter with its whole record; None if what the letter has an excerpt of is there no more.

        Raises:
            PenstockError: if the record cannot be read now.
        """
        letter = placed.letter
        if letter.value_bytes is None:
            return placed
        start, end = {letter.partition: letter.offset}, {letter.partition: letter.offset + 1}
        with suppress(RecordsGoneError):
            for record in read_topic(self._kafka, letter.topic, start=start, end=end):
                value = record.value or b""
                if not (value.startswith(letter.value or b"") and len(value) == letter.value_bytes):
                    continue  # of a topic that was made anew
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
                    raise self._stopped(f"the transaction was aborted: {error}", self._command) from error
                _log.warning("transaction aborted (%s); trying again", error)
            except OutcomeUnknownError as error:
                self._raise_unknown(str(error))
            else:
                return

    def _raise_unknown(self, why: str) -> NoReturn:
        raise self._stopped(
            f"another replay of the same letters has begun and goes on in place of this one, or Kafka was lost: {why}",
            f"wait until no other replay runs, then, for what is left: {self._command}",
        )

    def _stopped(self, what: str, advice: str) -> PenstockError:
        return PenstockError(
            what,
            where=str(self._kafka),
            safe="every batch is written once or not at all, and the next replay goes on after the last one written",
            next=advice,
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
