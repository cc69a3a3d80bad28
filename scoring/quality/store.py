"""What the process that counts quality keeps in Kafka, and how it writes it.

One transaction has all that has changed, histograms and waiting events, with the offsets of the records that they
include. So a process that is killed anywhere goes on from counts that fit its offsets.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import TopicPartition
from pydantic import Field, ValidationError

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.kafka.reading import ReadTopic
from penstock.kafka.records import Produced
from scoring.quality.book import Book
from scoring.quality.events import Event
from scoring.quality.facts import QualityFacts
from scoring.quality.histograms import Histogram, Key
from scoring.quality.label_alerts import LabelAlerts, ids_of
from scoring.quality.label_watch import LabelWatch, Taken, WatchState
from scoring.quality.late_places import LatePlaces, Range
from scoring.quality.reading_clock import Reached
from scoring.rollout.controller_store import Writer
from streams.definitions.base import Definition
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

NOTE = b"note"
"""The key of the note among the histograms."""
ODD = b"odd:"
"""How the keys begin of events that a detector on labels saw otherwise than the records say; the rest is the id."""

# For one transaction: less than transaction.timeout.ms, or the broker would abort it meanwhile.
_WRITE_S = 20.0
# So many records at most are removed with what is written.
_MOST_REMOVED = 50_000


class Note(Definition):
    """What histograms and waiting events are of.

    Args:
        fingerprint: Of what is counted, and how.
        edges: Where the bins of scores meet.
        horizon_ms: When, after its event, a label is final.
        reached: How far everything had come.
        late: How many predictions came after their events were forgotten.
        unmatched: How many events had labels and no prediction.
        late_places: The offsets of those predictions, as ranges: the first, and the one behind the last, by topic and
            partition. None if they are too many, or if an earlier release has not written them down.
        positions: The offset of the next record to read, of each partition of each topic that it reads: the counts are
            of the records before.
        watch: The detectors on labels.
    """

    format: Literal[1] = 1
    fingerprint: str
    edges: tuple[float, ...]
    horizon_ms: int
    reached: Reached = Reached()
    late: int = 0
    unmatched: int = 0
    late_places: Mapping[str, Mapping[int, tuple[Range, ...]]] | None = None
    positions: Mapping[str, Mapping[int, int]] = Field(default_factory=dict)
    watch: WatchState = WatchState()


@dataclass(frozen=True)
class KeptQuality:
    """What was saved.

    Args:
        note: The note; None if nothing was saved, or by another release.
        histograms: By key.
        keys: The keys of all records in the topic of histograms.
        odd: The odd events of the detectors on labels, by id.
    """

    note: Note | None
    histograms: dict[Key, Histogram]
    keys: frozenset[bytes]
    odd: dict[str, Taken]


def read_quality(read: ReadTopic, pipeline: Pipeline) -> KeptQuality:
    """The histograms that were saved, with their note.

    Raises:
        RecordsGoneError: if the topic does not exist.
        PenstockError: if Kafka does not answer, or does not allow it.
    """
    latest = _latest(read, pipeline.quality_topic)
    try:
        note = None if NOTE not in latest else Note.model_validate_json(latest[NOTE])
        odd = {
            key.removeprefix(ODD).decode(): Taken(*json.loads(value))
            for key, value in latest.items()
            if key.startswith(ODD)
        }
        histograms = {
            Key.decode(key): Histogram.decode(value)
            for key, value in latest.items()
            if key != NOTE and not key.startswith(ODD)
        }
    except (ValidationError, ValueError, TypeError) as error:
        _log.warning("%s is of another release: %s", pipeline.quality_topic, str(error).partition("\n")[0])
        return KeptQuality(None, {}, frozenset(latest), {})
    return KeptQuality(note, histograms, frozenset(latest), odd)


def require_counted(kept: KeptQuality, facts: QualityFacts, pipeline: Pipeline) -> Note:
    """The note of what was saved, if it is what the definition says now.

    Raises:
        PenstockError: if nothing was saved, or something else is counted.
    """
    if kept.note is None:
        raise PenstockError(
            f"the quality of pipeline {pipeline.name} was never counted",
            where=pipeline.quality_topic,
            next="penstock quality run PIPELINE",
        )
    if kept.note.fingerprint != facts.fingerprint:
        raise PenstockError(
            "the definition has changed since: other labels, threshold, decisions or groups were counted",
            where=pipeline.quality_topic,
            safe="the histograms of before, until they are counted anew",
            next="penstock quality run PIPELINE, which begins anew with what the topics still have",
        )
    return kept.note


class QualityStore:
    """The one writer of a pipeline's quality.

    Args:
        pipeline: The pipeline.
        facts: What is counted.
        read: Reads a topic.
        producer: Writes under a transactional id of its own.
    """

    def __init__(self, pipeline: Pipeline, facts: QualityFacts, read: ReadTopic, producer: Writer) -> None:
        self._pipeline, self._facts, self._read, self._producer = pipeline, facts, read, producer
        self._stale: dict[str, frozenset[bytes]] = {}
        self._keys: dict[str, frozenset[bytes]] = {}
        self._alerts = LabelAlerts(pipeline, facts.fingerprint)
        self._published: frozenset[str] = frozenset()

    def start(self) -> bool:
        """Fence every other writer, and end what it was writing; waits for Kafka. False if the process shall stop.

        Raises:
            PenstockError: if Kafka does not allow it.
        """
        return self._producer.start()

    def serve(self) -> None:
        """Take in what the client tells between transactions. Never waits."""
        self._producer.serve()

    def read(self) -> tuple[Note | None, Book]:
        """What the last process has left, after :meth:`start`; an empty book if it counts something else.

        Raises:
            RecordsGoneError: if a topic does not exist.
            PenstockError: if Kafka does not answer, or does not allow it.
        """
        pipeline = self._pipeline
        kept, waiting = read_quality(self._read, pipeline), _latest(self._read, pipeline.quality_state_topic)
        self._keys = {pipeline.quality_topic: kept.keys, pipeline.quality_state_topic: frozenset(waiting)}
        self._stale = {}
        # Counted anew, the same labels give the same alarms: they are there once.
        self._published = frozenset() if pipeline.monitors is None else ids_of(self._read(pipeline.drift_topic))
        note = kept.note
        if note is None or note.fingerprint != self._facts.fingerprint:
            return note, self.anew()
        try:
            events = [Event.decode(key.decode(), value) for key, value in waiting.items()]
        except ValueError as error:
            _log.warning("%s is of another release: %s", pipeline.quality_state_topic, error)
            return None, self.anew()
        watch = LabelWatch(self._facts.false_alarm_every, note.watch, kept.odd)
        late_places = LatePlaces({} if not note.late else note.late_places)
        return note, Book(
            self._facts,
            kept.histograms,
            events,
            note.reached,
            late=note.late,
            unmatched=note.unmatched,
            late_places=late_places,
            watch=watch,
        )

    def anew(self) -> Book:
        """An empty book: the next transaction removes what was saved."""
        self._stale = self._keys
        return Book(self._facts)

    def write(self, book: Book, reached: Reached, offsets: Mapping[Partition, int], group: Any, now: int) -> None:
        """Write what is not saved of a book, its alarms, and the offsets that it includes, in one transaction.

        Args:
            book: The book.
            reached: How far everything has come.
            offsets: The offset of the next record to read, of every partition.
            group: The consumer group's metadata.
            now: Epoch ms.

        Raises:
            TransactionAbortedError: nothing was written.
            OutcomeUnknownError: it is not known what was written: start again.
            InstanceFencedError: another process has replaced this one.
            PenstockError: if Kafka refuses a record, or does not allow it.
        """
        positions: dict[str, dict[int, int]] = {}
        for (topic, number), offset in sorted(offsets.items()):
            positions.setdefault(topic, {})[number] = offset
        note = Note(
            fingerprint=self._facts.fingerprint,
            edges=self._facts.edges,
            horizon_ms=self._facts.horizon_ms,
            reached=reached,
            late=book.late,
            unmatched=book.unmatched,
            late_places=book.late_places.content(),
            positions=positions,
            watch=book.watch.state(),
        )
        self._remove_most_of_the_stale(offsets, group, now)
        histograms, events = book.records()
        histograms[NOTE] = note.model_dump_json().encode()
        for event_id in book.watch.changed_odd:
            histograms[ODD + event_id.encode()] = json.dumps(book.watch.odd[event_id], separators=(",", ":")).encode()
        changed = {self._pipeline.quality_topic: histograms, self._pipeline.quality_state_topic: events}
        self._write(
            {topic: dict.fromkeys(self._stale.get(topic, ())) | of for topic, of in changed.items()},
            offsets,
            group,
            now,
            [
                self._alerts.record(one, now)
                for one in book.watch.alarms
                if self._alerts.id_of(one) not in self._published
            ],
        )
        self._stale = {}

    def _remove_most_of_the_stale(self, offsets: Mapping[Partition, int], group: Any, now: int) -> None:
        """Remove what is counted anew, in transactions of their own as long as one would not end in time.

        The note is removed first: whoever takes up what is left then counts anew, too.
        """
        note = {self._pipeline.quality_topic: dict[bytes, bytes | None]({NOTE: None})}
        for topic, keys in self._stale.items():
            left = sorted(keys)
            while len(left) > _MOST_REMOVED:
                some, left = left[:_MOST_REMOVED], left[_MOST_REMOVED:]
                self._write(note | {topic: note.get(topic, {}) | dict.fromkeys(some)}, offsets, group, now)
                self._stale = self._stale | {topic: frozenset(left)}

    def _write(
        self,
        changed: Mapping[str, Mapping[bytes, bytes | None]],
        offsets: Mapping[Partition, int],
        group: Any,
        now: int,
        alerts: Sequence[Produced] = (),
    ) -> None:
        records = [
            Produced(topic, 0, key, value, [], now, topic) for topic, of in changed.items() for key, value in of.items()
        ]
        records += alerts
        self._producer.write(
            records, [TopicPartition(*partition, offset) for partition, offset in offsets.items()], group, _WRITE_S
        )


def _latest(read: ReadTopic, topic: str) -> dict[bytes, bytes]:
    """The latest record of each key."""
    found: dict[bytes, bytes] = {}
    for record in read(topic):
        key = record.key or b""
        if record.value is None:
            found.pop(key, None)
        else:
            found[key] = record.value
    return found
