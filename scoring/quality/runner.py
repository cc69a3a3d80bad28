"""The process that counts quality: reads predictions and labels, and saves what they count with their offsets.

One process for each pipeline, one thread. What it has counted is saved every few seconds, in one transaction with the
offsets. It begins anew, with the oldest records that there are, where what is saved does not fit the definition or the
offsets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.reading import RecordsGoneError
from penstock.kafka.retention import GapPolicy
from penstock.kafka.sole_member import Replaced, SoleConsumer, SoleMember
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.quality.book import Book
from scoring.quality.quality_input import QualityInput
from scoring.quality.quality_metrics import QualityMetrics
from scoring.quality.reading_clock import ReadingClock
from scoring.quality.store import Note, QualityStore
from scoring.rollout.controller_consumer import Batch, batch_of
from scoring.rollout.controller_positions import Found, Positions
from scoring.rollout.controller_records import Unreadable
from scoring.rollout.pace import Pace

_log = logging.getLogger(__name__)

_POLL_S = 0.2
_MOST_RECORDS = 5_000
# Saved this often, and earlier if this much has changed: a transaction must end in time.
_SAVE_S = 2.0
_MOST_UNSAVED = 20_000
# Measures of all versions and arms take some tenths of a second.
_REPORT_S, _REPORT_AT_LEAST_S = 10.0, 120.0
_PAUSE_S = 0.5
_LOGGED_UNREADABLE = 5
_REPLACED = Replaced(
    "another process counts the quality of this pipeline, and has replaced this one",
    "leave it to the other one: a pipeline has one",
)


@dataclass(frozen=True)
class QualityComponents:
    """The components of the process. Their creator owns and closes them."""

    consumer: SoleConsumer
    store: QualityStore
    positions: Positions
    reader: QualityInput
    metrics: QualityMetrics
    watch: LagWatch
    gaps: GapPolicy


@dataclass
class _Standing:
    """What is counted, and how far it was read."""

    book: Book
    clock: ReadingClock
    positions: dict[Partition, int]
    is_saved: bool = False


class QualityRunner:
    """Counts the quality of a pipeline.

    Args:
        partitions: The number of partitions of each topic that it reads.
        horizon_ms: When, after its event, a label is final.
        components: Consumer, store and the rest.
        now: Wall-clock epoch milliseconds, for the timestamps of records only.
        clock: Monotonic seconds.
        wait: Sleeps that many seconds, or less if the process shall stop.
        stopping: Whether the process shall stop; what was read is saved first.
    """

    def __init__(
        self,
        partitions: Mapping[str, int],
        horizon_ms: int,
        components: QualityComponents,
        *,
        now: Callable[[], int],
        clock: Callable[[], float],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._everything = {(topic, number) for topic, count in partitions.items() for number in range(count)}
        self._labels = {place for place in self._everything if place[0] in components.reader.label_topics}
        self._horizon_ms = horizon_ms
        self._components, self._consumer, self._metrics = components, components.consumer, components.metrics
        self._now, self._wait, self._stopping = now, wait, stopping
        self._member = SoleMember(self._consumer, self._everything, components.watch, self._forget)
        self._paused: frozenset[Partition] = frozenset()
        self._standing: _Standing | None = None  # None: to be taken up
        self._save_pace = Pace(clock, _SAVE_S, _SAVE_S)
        self._report_pace = Pace(clock, _REPORT_S, _REPORT_AT_LEAST_S)

    def run(self) -> None:
        """Count until told to stop.

        Raises:
            InstanceFencedError: if another process for the pipeline was started.
            MembershipLostError: if the group must be joined again, with a new consumer.
            PenstockError: if no retry can help. A restart goes on from what is saved.
        """
        self._member.run(self._step, self._finish, self._stopping, _REPLACED)

    def _finish(self) -> None:
        if self._standing is not None and not self._standing.is_saved:
            self._save(self._standing)

    def _step(self) -> None:
        batch = batch_of(self._consumer.consume(_MOST_RECORDS, timeout=_POLL_S))
        self._components.store.serve()
        if batch.is_off:
            self._standing = None
        if self._standing is None:
            # What comes meanwhile is read again: polling only keeps the membership of the group.
            if self._member.has_everything:
                self._take_up()
            return
        if not self._read(self._standing, batch):
            self._standing = None
            return
        book = self._standing.book
        unsaved = len(book.changed_ids) + len(book.changed_keys)
        if not self._standing.is_saved and (self._save_pace.is_due() or unsaved > _MOST_UNSAVED):
            self._save(self._standing)
        if self._standing is not None and self._report_pace.is_due():
            with self._report_pace.measured():
                self._metrics.report(book, book.reached(self._standing.clock.reached))

    # Beginning, and beginning again.

    def _take_up(self) -> None:
        """Stand on what is committed; nothing happens if that cannot be found out now."""
        store = self._components.store
        if not store.start():
            return
        try:
            note, book = store.read()
            found = self._components.positions.find()
        except RecordsGoneError:
            raise
        except (PenstockError, KafkaException, TimeoutError) as error:
            _log.warning("what is saved cannot be read now: %s; trying again", str(error).partition("\n")[0])
            self._wait(_PAUSE_S)
            return
        why = _why_anew(note, book, found)
        reached = None if note is None else note.reached
        if why is not None:
            if note is not None or found.starts:
                _log.warning("everything is counted anew, from the oldest records: %s", why)
            book, reached, starts = store.anew(), None, dict(found.earliest)
        else:
            for gap in found.gaps:
                self._components.gaps.pass_over(gap)
            starts = {**{place: found.earliest[place] for place in found.new}, **found.starts}
        clock = ReadingClock(self._labels, self._everything, reached)
        self._standing = _Standing(book, clock, starts)
        self._place(starts)
        self._metrics.report(book, clock.reached)
        _log.info("%d events wait for their labels", len(book.queue.events))

    def _place(self, starts: Mapping[Partition, int]) -> None:
        places = [TopicPartition(*partition) for partition in self._everything]
        self._consumer.incremental_unassign(places)
        self._consumer.incremental_assign([TopicPartition(*place, at) for place, at in starts.items()])
        self._consumer.resume(places)  # a pause outlives the assignment
        self._paused = frozenset()
        self._components.watch.done(starts)

    # Reading and saving.

    def _read(self, standing: _Standing, batch: Batch) -> bool:
        """Take in a batch; False if it must be read again."""
        try:
            read = self._components.reader.read(batch.records)
        except PenstockError as error:  # the schema registry of the labels
            _log.warning("%s; the records are read again", error.what)
            self._wait(_PAUSE_S)
            return False
        self._note_unreadable(read.passed)
        book, clock = standing.book, standing.clock
        before = clock.reached
        matured = book.observe(read.predictions, read.labels)
        clock.read(read.come, batch.positions.keys() - batch.ended, batch.ended)
        matured += book.advance(clock.reached)
        self._metrics.matured(matured)
        later = {place: at for place, at in batch.positions.items() if at > standing.positions[place]}
        standing.positions |= later
        if later or clock.reached != before or matured or book.changed_ids:
            standing.is_saved = False
        self._wait_for_the_last(clock)
        return True

    def _wait_for_the_last(self, clock: ReadingClock) -> None:
        """Read no further where everything else is far behind: it would only wait in memory."""
        ahead = clock.ahead(self._horizon_ms)
        if ahead == self._paused:
            return
        self._consumer.pause([TopicPartition(*place) for place in ahead - self._paused])
        self._consumer.resume([TopicPartition(*place) for place in self._paused - ahead])
        self._paused = ahead

    def _note_unreadable(self, passed: list[Unreadable]) -> None:
        for number, one in enumerate(passed):
            self._metrics.unreadable(one.topic)
            if number < _LOGGED_UNREADABLE:
                _log.warning("passed over %s: %s", one.where, one.why)
        if len(passed) > _LOGGED_UNREADABLE:
            _log.warning("and %d more", len(passed) - _LOGGED_UNREADABLE)

    def _save(self, standing: _Standing) -> None:
        components, outcome = self._components, "written"
        group = self._consumer.consumer_group_metadata()
        self._save_pace.done(_SAVE_S)
        try:
            reached = standing.book.reached(standing.clock.reached)
            components.store.write(standing.book, reached, standing.positions, group, self._now())
        # Whether another process has replaced this one, the consumer finds out: its heartbeats are fenced, too.
        except (TransactionAbortedError, InstanceFencedError, OutcomeUnknownError) as error:
            outcome = "unknown" if isinstance(error, OutcomeUnknownError) else "aborted"
            _log.info("the counts were not saved, and are taken up again: %s", error)
        self._metrics.transaction(outcome)
        # Not in the except block, whose exception keeps the discarded producer alive.
        if outcome != "written":
            self._standing = None
            self._wait(_PAUSE_S)
            return
        for alarm in standing.book.watch.alarms:
            _log.warning("labels of version %s do not agree with scores: %s", alarm.at.version, alarm)
        self._metrics.alarmed(standing.book.watch.alarms)
        standing.book.saved()
        standing.is_saved = True
        components.watch.done(standing.positions)

    def _forget(self) -> None:
        self._standing = None


def _why_anew(note: Note | None, book: Book, found: Found) -> str | None:
    """Why what is saved cannot be gone on with; None if it can."""
    if note is None:
        return "nothing was saved that this release can read"
    if note.fingerprint != book.facts.fingerprint:
        return "labels, threshold, decisions or groups have changed"
    for topic, number in found.new:
        if number in note.positions.get(topic, ()):
            return f"no offset is committed of {topic}[{number}]"
    return None
