"""The process that watches raw events: reads all partitions, and saves what it counts with alerts and offsets.

One process for each pipeline, one thread. It saves at once where it has found something, and else every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.gaps import Gap
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.reading import Record, RecordsGoneError
from penstock.kafka.retention import GapPolicy
from penstock.kafka.sole_member import Replaced, SoleConsumer, SoleMember
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.rollout.controller_consumer import Batch, batch_of
from scoring.rollout.pace import Pace
from streams.definitions.pipeline import Pipeline
from streams.drift.data_quality.quality_alerts import QualityAlertBuilder
from streams.drift.data_quality.quality_metrics import DataQualityMetrics
from streams.drift.data_quality.quality_reference import UnreadableReferenceError
from streams.drift.data_quality.quality_store import DataQualityStore, Kept, require_reference
from streams.drift.data_quality.quality_watch import QualityAlert, QualityWatch
from streams.drift.data_quality.raw_events import RawReader, WatchedTopic

_log = logging.getLogger(__name__)

_POLL_S = 0.2
_MOST_RECORDS = 5_000
_SAVE_S = 5.0
_PAUSE_S = 0.5

Offsets = Callable[[], tuple[Mapping[Partition, int], Mapping[Partition, int]]]
"""The first offset that each partition still has, and its end; raises KafkaException or TimeoutError."""
_REPLACED = Replaced(
    "another process watches the raw events of this pipeline, and has replaced this one",
    "leave it to the other one: a pipeline has one",
)


@dataclass(frozen=True)
class RunnerComponents:
    """The components of the process. Their creator owns and closes them."""

    consumer: SoleConsumer
    store: DataQualityStore
    offsets: Offsets
    readers: Mapping[str, RawReader]
    alerts: QualityAlertBuilder
    metrics: DataQualityMetrics
    watch: LagWatch
    gaps: GapPolicy


@dataclass
class _Standing:
    """What is counted, and how far it was read."""

    watch: QualityWatch
    positions: dict[Partition, int]
    at_end: set[Partition] = field(default_factory=set)
    alerts: list[QualityAlert] = field(default_factory=list)
    is_saved: bool = True


class DataQualityRunner:
    """Watches the raw events of a pipeline.

    Args:
        pipeline: The pipeline.
        reference: Its name, as the user gave it.
        topics: The topics to watch.
        components: Consumer, store and the rest.
        model_version: The version that is served now.
        now: Wall-clock epoch milliseconds.
        clock: Monotonic seconds.
        wait: Sleeps that many seconds, or less if the process shall stop.
        stopping: Whether the process shall stop; what was read is saved first.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        reference: str,
        topics: Sequence[WatchedTopic],
        components: RunnerComponents,
        *,
        model_version: Callable[[], str],
        now: Callable[[], int],
        clock: Callable[[], float],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._pipeline, self._reference, self._topics = pipeline, reference, topics
        self._components, self._consumer = components, components.consumer
        self._model_version, self._now, self._wait, self._stopping = model_version, now, wait, stopping
        number = pipeline.source.partitions
        self._everything = {(topic.topic, partition) for topic in topics for partition in range(number)}
        self._member = SoleMember(self._consumer, self._everything, components.watch, self._forget)
        self._standing: _Standing | None = None  # None: to be taken up
        self._save_pace = Pace(clock, _SAVE_S, _SAVE_S)

    def run(self) -> None:
        """Watch until told to stop.

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
        standing = self._standing
        if standing is None:
            # What comes meanwhile is read again: polling only keeps the membership of the group.
            if self._member.has_everything:
                self._take_up()
            return
        if not self._read(standing, batch):
            self._standing = None
            return
        if standing.alerts or (not standing.is_saved and self._save_pace.is_due()):
            self._save(standing)

    def _take_up(self) -> None:
        """Stand on what is committed; nothing happens if that cannot be found out now."""
        store = self._components.store
        if not store.start():
            return
        try:
            kept = store.read()
            earliest, ends = self._components.offsets()
        except (RecordsGoneError, UnreadableReferenceError):
            raise
        except (PenstockError, KafkaException, TimeoutError) as error:
            _log.warning("what is saved cannot be read now: %s; trying again", str(error).partition("\n")[0])
            self._wait(_PAUSE_S)
            return
        reference = require_reference(kept, self._pipeline, self._reference)
        watch = QualityWatch(self._topics, reference, self._pipeline.source.partitions)
        if kept.note is not None and kept.note.state.reference == reference.hash:
            watch.restore(kept.note.state, kept.partitions)
        starts = self._starts(kept, earliest, ends)
        self._standing = _Standing(watch, starts)
        places = [TopicPartition(*partition) for partition in self._everything]
        self._consumer.incremental_unassign(places)
        self._consumer.incremental_assign([TopicPartition(*place, at) for place, at in starts.items()])
        self._consumer.resume(places)  # a pause outlives the assignment
        self._components.watch.done(starts)
        self._components.metrics.report(watch)
        for one in reference.topics:
            for refusal in one.refused:
                _log.warning("not watched: %s", refusal)

    def _starts(
        self, kept: Kept, earliest: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        assert kept.reference is not None
        saved = {} if kept.note is None else kept.note.positions
        learnt = {one.topic: one.start for one in kept.reference.topics}
        starts = {}
        for place in sorted(self._everything):
            topic, number = place
            position = saved.get(topic, {}).get(number)
            if position is None:
                # Of what was learnt from, nothing is lost that is deleted.
                first = learnt.get(topic, {}).get(number, 0)
                starts[place] = first if earliest[place] <= first <= ends[place] else earliest[place]
                continue
            gap = Gap.find(place, position, earliest[place], ends[place])
            if gap is not None:
                self._components.gaps.pass_over(gap)
            starts[place] = position if gap is None else gap.earliest
        return starts

    def _read(self, standing: _Standing, batch: Batch) -> bool:
        """Take in a batch; False if it must be read again."""
        for topic, messages in batch.records.items():
            watch = standing.watch.topics.get(topic)
            if watch is None:  # the reference does not know it
                continue
            before, reader = watch.observed, self._components.readers[topic]
            try:
                events = [reader.read(_record(message)) for message in messages]
            except PenstockError as error:  # the schema registry
                _log.warning("%s; the records are read again", error.what)
                self._wait(_PAUSE_S)
                return False
            for event in filter(None, events):
                standing.alerts += standing.watch.observe(topic, event)
            watched = watch.observed - before
            self._components.metrics.records(topic, watched, len(messages) - watched)
        later = {place: at for place, at in batch.positions.items() if at > standing.positions[place]}
        standing.positions |= later
        standing.at_end = (standing.at_end - batch.positions.keys()) | batch.ended
        at_end: dict[str, set[int]] = {}
        for topic, number in standing.at_end:
            at_end.setdefault(topic, set()).add(number)
        standing.alerts += standing.watch.advance(at_end, self._now())
        standing.is_saved = standing.is_saved and not later and not standing.alerts
        return True

    def _save(self, standing: _Standing) -> None:
        components, alerts, outcome = self._components, standing.alerts, "written"
        group = self._consumer.consumer_group_metadata()
        self._save_pace.done(_SAVE_S)
        version = self._model_version() if alerts else ""
        records = [components.alerts.alert(alert, version, self._now()) for alert in alerts]
        size = 0
        try:
            size = components.store.write(standing.watch, records, standing.positions, group, self._now())
        # Whether another process has replaced this one, the consumer finds out: its heartbeats are fenced, too.
        except (TransactionAbortedError, InstanceFencedError, OutcomeUnknownError) as error:
            outcome = "unknown" if isinstance(error, OutcomeUnknownError) else "aborted"
            _log.info("the counts were not saved, and are taken up again: %s", error)
        # Not in the except block, whose exception keeps the discarded producer alive.
        if outcome != "written":
            components.metrics.not_saved(outcome)
            self._standing = None
            self._wait(_PAUSE_S)
            return
        components.metrics.saved(standing.watch, alerts, size)
        for alert in alerts:
            _log.info("data quality: %s", alert.finding.message)
        standing.watch.saved()
        standing.alerts, standing.is_saved = [], True
        components.watch.done(standing.positions)

    def _forget(self) -> None:
        self._standing = None


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Record(
        partition, offset, message.timestamp()[1], message.key(), message.value(), tuple(message.headers() or ())
    )
