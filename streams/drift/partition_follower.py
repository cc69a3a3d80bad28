"""Follows the partitions assigned to one instance: acquires them with their state, processes, saves, releases.

Failure handling:

- *Killed*: the next owner resumes from the saved state and repeats the records after it. Alerts after that state were
  never visible.
- *A save fails*: the partition is dropped and acquired again, from the state in Kafka.
- *Cut off while another instance took over*: saves are fenced; the group revokes the partition once it is reachable.
- *faust lost records*: ``delivered_until`` of the next block shows the gap; the follower seeks back to it.
- *Kafka deleted records before they were read*: the partition is acquired again, and the store decides what follows.
- *A record cannot be decoded*: it goes to ``<topic>.dlq``, in the transaction of the first state beyond it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from faust.types import TP

from penstock.errors import PenstockError
from penstock.kafka.records import Produced
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import DriftRecordBuilder, ObservationReader
from streams.drift.drift_reference import DriftReference
from streams.drift.faust_consumer import RecordBlock
from streams.drift.state_store import NotSavedError, TrackStore
from streams.drift.track import DriftAlert, Track

_log = logging.getLogger(__name__)

# A state is saved with every alert, and at the latest after this many records or seconds.
SAVE_EVERY_RECORDS = 5_000
SAVE_EVERY_S = 2.0
_POLL_S = 0.1
# After a fence: longer than the group needs to reassign the partition (session timeout, 10 s).
_FENCED_PAUSE_S = 12.0
_RETRY_S = 1.0


@dataclass
class _AssignedPartition:
    """An acquired partition: its track, and the alerts and records to publish with the next save."""

    track: Track
    saved: int
    alerts: list[DriftAlert] = field(default_factory=list)
    outbox: list[Produced] = field(default_factory=list)
    saved_at: float = 0.0
    has_gap: bool = False
    save_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_due(self, now: float) -> bool:
        behind = self.track.position - self.saved
        return bool(self.outbox) or behind >= SAVE_EVERY_RECORDS or (behind > 0 and now - self.saved_at >= SAVE_EVERY_S)


class PartitionFollower:
    """Follows the partitions that the consumer group assigns to this instance. Runs in one event loop.

    Set :attr:`seek` and :attr:`commit` before use: they move the consumer and commit offsets.

    Args:
        reference: The drift reference of the served model version.
        store: Loads and saves the tracks' states.
        readers: One per topic: reads what its records hold to monitor.
        monitors: The monitors that each topic feeds.
        records: Builds alerts and dead letters.
        metrics: The app's metrics.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reference: DriftReference,
        store: TrackStore,
        readers: Mapping[str, ObservationReader],
        monitors: Mapping[str, tuple[str, ...]],
        records: DriftRecordBuilder,
        metrics: DriftMetrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._reference = reference
        self._store = store
        self._readers = readers
        self._monitors = monitors
        self._records = records
        self._metrics = metrics
        self._clock = clock
        self._partitions: dict[TP, _AssignedPartition] = {}
        self._lock = asyncio.Lock()
        self._retry_at: dict[TP, float] = {}
        self._out_of_range: set[TP] = set()
        self.seek: Callable[[dict[TP, int]], Awaitable[None]]
        self.commit: Callable[[dict[TP, int]], Awaitable[None]]

    async def acquire(self, assigned: set[TP]) -> dict[TP, int]:
        """Acquire the partitions that are not followed yet; returns each followed partition's next offset.

        Raises:
            PenstockError: if one is of a topic that this pipeline does not monitor, or as :meth:`TrackStore.acquire`.
        """
        async with self._lock:
            new = [tp for tp in assigned if tp not in self._partitions and tp not in self._retry_at]
            await asyncio.gather(*(self._acquire(tp) for tp in new))
            return {tp: self._partitions[tp].track.position for tp in assigned if tp in self._partitions}

    async def release(self, partitions: set[TP]) -> None:
        """Save these partitions' states, then stop following them."""
        for tp in partitions:
            await self._save(tp)
        async with self._lock:
            for tp in partitions:
                self._forget(tp)
                self._retry_at.pop(tp, None)

    def out_of_range(self, partitions: set[TP]) -> None:
        """Kafka no longer has the next record of these partitions."""
        self._out_of_range |= partitions

    def process(self, block: RecordBlock) -> None:
        """Process a block of records. One after a gap is skipped: its records are delivered again after the seek."""
        partition = self._partitions.get(block.tp)
        if partition is None or block.end <= partition.track.position:
            return
        if block.delivered_until > partition.track.position:
            if not partition.has_gap:
                self._metrics.gaps.inc()
                where = f"{block.topic}[{block.partition}]"
                gap = (partition.track.position, block.delivered_until)
                _log.warning("%s: records from %d to %d were lost; seeking back", where, *gap)
                partition.has_gap = True
            return
        self._feed(partition, block)

    def _feed(self, partition: _AssignedPartition, block: RecordBlock) -> None:
        track, topic, before = partition.track, block.topic, partition.track.observed
        records = [record for record in block.records if record.offset >= track.position]
        observations, undecodable = self._readers[topic].read(
            [record.offset for record in records], [record.value for record in records]
        )
        for record in records if undecodable else ():
            if error := undecodable.get(record.offset):
                where, headers = (topic, block.partition, record.offset), list(record.headers or ())
                letter = self._records.dead_letter(where, record.key, record.value, headers, error, _now_ms())
                partition.outbox.append(letter)
                _log.warning("dead letter: %s[%d]@%d: %s", *where, error.what)
        alerts = track.process(block.end, observations)
        monitored = track.observed - before
        self._metrics.records(topic, "dead_letter", len(undecodable))
        self._metrics.records(topic, "monitored", monitored)
        self._metrics.records(topic, "passed", len(records) - len(undecodable) - monitored)
        for alert in alerts:
            partition.alerts.append(alert)
            partition.outbox.append(self._records.alert(alert, track.topic, track.partition, _now_ms()))

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set: save due states, seek back to gaps, acquire dropped partitions again."""
        while not stopping.is_set():
            self._store.serve()
            await self._drop_out_of_range()
            await self._seek_gaps_and_retries()
            positions = {}
            for tp, partition in list(self._partitions.items()):
                if partition.is_due(self._clock()) and await self._save(tp):
                    positions[tp] = partition.saved
            if positions:
                await self.commit(positions)
            try:
                await asyncio.wait_for(stopping.wait(), _POLL_S)
            except TimeoutError:
                continue

    async def _acquire(self, tp: TP) -> None:
        if tp.topic not in self._monitors:
            raise PenstockError(
                f"{tp.topic}[{tp.partition}] is assigned to this instance, whose pipeline monitors "
                f"{', '.join(self._monitors)}: another instance runs another definition",
                where=tp.topic,
                safe="every published alert and the saved state",
                next="stop all instances of this pipeline's drift app, then start them with one definition",
            )
        try:
            resume = await asyncio.to_thread(self._store.acquire, tuple(tp))
        except NotSavedError as error:
            _log.warning("%s cannot be followed yet: %s", tp, error)
            self._retry_at[tp] = self._clock() + _RETRY_S
            return
        names = self._monitors[tp.topic]
        track = (
            Track(self._reference, names, tp.topic, tp.partition, resume.start)
            if resume.state is None
            else Track.from_state(resume.state, self._reference, names, tp.topic, tp.partition)
        )
        saved = track.position
        track.skip_to(resume.start)
        self._partitions[tp] = _AssignedPartition(track, saved=saved, saved_at=self._clock())
        _log.info("%s[%d] is followed from %d", tp.topic, tp.partition, track.position)

    async def _drop_out_of_range(self) -> None:
        """Save these partitions, then acquire them again: that looks at what the topic still has."""
        dropped, self._out_of_range = self._out_of_range & self._partitions.keys(), set()
        for tp in dropped:
            await self._save(tp)
        async with self._lock:
            for tp in dropped & self._partitions.keys():
                self._forget(tp)
                self._retry_at[tp] = self._clock()

    async def _seek_gaps_and_retries(self) -> None:
        now = self._clock()
        due = {tp for tp, at in self._retry_at.items() if at <= now}
        for tp in due:
            del self._retry_at[tp]
        gaps = {tp for tp, partition in self._partitions.items() if partition.has_gap}
        if due or gaps:
            await self.seek(await self.acquire(due | gaps))
            for tp in gaps & self._partitions.keys():
                self._partitions[tp].has_gap = False

    async def _save(self, tp: TP) -> bool:
        partition = self._partitions.get(tp)
        if partition is None:  # released while another was saved
            return False
        async with partition.save_lock:
            if partition.track.position == partition.saved:
                return False
            state, alerts, outbox = partition.track.state(), partition.alerts, partition.outbox
            partition.alerts, partition.outbox = [], []
            begin = self._clock()
            try:
                size = await asyncio.to_thread(self._store.save, tuple(tp), state, outbox, _now_ms())
            except NotSavedError as error:
                self._metrics.not_saved()
                _log.warning("%s[%d]: state not saved (%s); acquiring it again", tp.topic, tp.partition, error)
                if self._partitions.get(tp) is partition:
                    self._forget(tp)
                    self._retry_at[tp] = self._clock() + (_FENCED_PAUSE_S if error.lost else _RETRY_S)
                return False
            partition.saved, partition.saved_at = state.position, self._clock()
        self._metrics.save_seconds.observe(partition.saved_at - begin)
        self._metrics.saved(partition.track, alerts, size)
        for alert in alerts:
            _log.info("drift: %s (%.4g > %.4g)", alert.alert_id, alert.crossing.statistic, alert.crossing.threshold)
        return True

    def _forget(self, tp: TP) -> None:
        partition = self._partitions.pop(tp, None)
        self._store.release(tuple(tp))
        if partition is not None:
            self._metrics.released(partition.track)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
